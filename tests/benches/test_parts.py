"""Which part of the server a sample is in, and how samples become tables."""

from __future__ import annotations

from collections import Counter

import pytest

from benches import perf, py_spy
from benches.profiles import WORKS, functions_table, parts_table

KERNEL = "([kernel.kallsyms])"
# As `perf script -F ip,sym,dso` prints stacks: innermost first, the system call after what it does.
STACKS = {
    "our _core, hashing": ["7f01 sha2::sha256::compress (/a/lib_core.so)", "7f02 digest_of (/a/lib_core.so)"],
    "our _core, the rest": ["7f01 ociserver_core::request::parse (/a/_core.abi3.so)"],
    "granian": ["7f01 [unknown] (/a/granian/_granian.cpython-311-x86_64-linux-gnu.so)"],
    "SQLite": ["7f01 sqlite3VdbeExec (/usr/lib/libsqlite3.so.0.8.6)"],
    "CPython": ["7f01 _PyEval_EvalFrameDefault (/usr/lib/libpython3.11.so.1.0)"],
    "libc, allocator": ["7f01 _int_malloc (/usr/lib/libc.so.6)"],
    "everything else": ["7f01 [unknown] (/usr/lib/libz.so.1)"],
    "kernel, network": [
        f"ffffffff81000001 tcp_sendmsg {KERNEL}",
        f"ffffffff81000002 __x64_sys_sendto {KERNEL}",
        f"ffffffff81000003 do_syscall_64 {KERNEL}",
        "7f01 __send (/usr/lib/libc.so.6)",
    ],
    "kernel, files": [
        f"ffffffff81000001 ext4_sync_file {KERNEL}",
        f"ffffffff81000002 __x64_sys_fdatasync {KERNEL}",
        "7f01 fdatasync (/usr/lib/libc.so.6)",
    ],
    "kernel, threads that wait, wake, switch": [
        f"ffffffff81000001 schedule {KERNEL}",
        f"ffffffff81000002 __x64_sys_futex {KERNEL}",
        "7f01 pthread_cond_wait (/usr/lib/libc.so.6)",
    ],
    "kernel, memory": [
        f"ffffffff81000001 clear_page {KERNEL}",
        f"ffffffff81000002 asm_exc_page_fault {KERNEL}",
        "7f01 memcpy (/usr/lib/libc.so.6)",
    ],
    "kernel, everything else": [f"ffffffff81000001 ret_from_fork {KERNEL}"],
}


def read(*stacks: list[str]) -> list[perf.Stack]:
    lines = [line for stack in stacks for line in (*(f"\t{frame}" for frame in stack), "")]
    return list(perf.stacks(lines))


@pytest.mark.parametrize("part", STACKS)
def test_a_sample_belongs_to_the_part_whose_code_runs(part: str) -> None:
    (stack,) = read(STACKS[part])
    assert perf.part(stack) == part


@pytest.mark.parametrize("outer", ["__x64_sys_write", "__arm64_sys_writev", "ksys_write", "do_writev"])
@pytest.mark.parametrize(
    "inner, part",
    [
        ("sock_write_iter", "kernel, network"),
        ("eventfd_write", "kernel, threads that wait, wake, switch"),
        ("ext4_file_write_iter", "kernel, files"),
    ],
)
def test_a_write_is_of_what_is_written_to(inner: str, part: str, outer: str) -> None:
    (stack,) = read([f"ffffffff81000001 {inner} {KERNEL}", f"ffffffff81000002 {outer} {KERNEL}"])
    assert perf.part(stack) == part


def test_who_gives_way_switches() -> None:
    symbols = ["finish_task_switch", "schedule", "exit_to_user_mode_loop", "do_syscall_64"]
    (stack,) = read([f"ffffffff8100000{number} {symbol} {KERNEL}" for number, symbol in enumerate(symbols)])
    assert perf.part(stack) == "kernel, threads that wait, wake, switch"


def test_shares_and_times_of_the_parts() -> None:
    stacks = read(*[STACKS["SQLite"]] * 3, STACKS["granian"])
    lines = parts_table(WORKS["manifest"], stacks, cpu_seconds_per_unit=40e-6).splitlines()
    assert lines[2:] == [
        "| SQLite | 75.0% | 30 | `sqlite3VdbeExec` 75.0% |",
        "| granian | 25.0% | 10 | `[unknown]` 25.0% |",
        "| total | 4 samples | 40 | |",
    ]
    # 2 s a GB are 2 ms a MB.
    assert "| total | 4 samples | 2 | |" in parts_table(WORKS["upload"], stacks, cpu_seconds_per_unit=2e-3)


def test_own_time_of_python_functions() -> None:
    samples = py_spy.own_time(
        [
            "<module> (__main__.py:1);run (asyncio/runners.py:86);answer (ociserver/handler/reading.py:10) 6",
            "<module> (__main__.py:1);answer (ociserver/handler/reading.py:10);parse (ociserver/context.py:3) 1",
            "<module> (__main__.py:1);answer (ociserver/handler/reading.py:10) 1",
            "",
        ]
    )
    assert samples == Counter({"ociserver.handler.reading.answer": 7, "ociserver.context.parse": 1})
    assert "| `ociserver.handler.reading.answer` | 87.5% |" in functions_table(samples)
