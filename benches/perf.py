"""Samples a process with `perf` (Linux) and assigns each sample to a part of the server.

A sample is the stack of a running thread, so samples measure processor time and not waiting. A sample belongs to the
part whose code runs, not to its caller. Inside the kernel the system call decides.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benches.recorder import recording

RATE_HZ: Final = 999
"""Samples per second. Not 1000, which would be in step with events of every millisecond."""

_PERF: Final = shutil.which("perf")
_FIRST_KERNEL_ADDRESS: Final = 1 << 63
"""Seconds for perf to attach to each thread."""

_FRAME: Final = re.compile(r"^\s+([0-9a-f]+) (.*) \((.*)\)$")
# Compilers omit the outermost function of some calls.
_SYSTEM_CALL: Final = re.compile(r"^(?:__[a-z0-9]+_sys_|ksys_|do_(?=p?(?:read|write)v))([a-z]\w*?)\d*$")
_HASHING: Final = re.compile(r"sha2|sha256|sha512|ociserver_core::hash")

_SWITCHING: Final = "kernel, threads that wait, wake, switch"
_OBJECTS: Final = (
    (re.compile(r"^(lib)?_core\."), "our _core, the rest"),
    (re.compile(r"^_?granian"), "granian"),
    (re.compile(r"^(lib|_)sqlite3"), "SQLite"),
    (re.compile(r"^(libc|ld-linux|libm|libpthread)[-.]|^\[vdso\]"), "libc, allocator"),
    # Includes the modules of the standard library that have their own files.
    (re.compile(r"^(lib)?python3|\.cpython-"), "CPython"),
)
_CALLS: Final = (
    (re.compile(r"send|recv|accept|sock|shutdown|bind|listen|connect|getpeername"), "kernel, network"),
    (re.compile(r"futex|epoll|poll|select|sched|sleep|eventfd"), _SWITCHING),
    (re.compile(r"mmap|munmap|mremap|madvise|brk|mprotect"), "kernel, memory"),
    (re.compile(r"read|write|sync|open|close|stat|unlink|rename|seek|truncate|fallocate|fcntl|link|mkdir|access|advise"),
     "kernel, files"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a stack: address, function if there are symbols, and shared object."""

    address: int
    symbol: str
    object: str

    @property
    def in_kernel(self) -> bool:
        return self.address >= _FIRST_KERNEL_ADDRESS


Stack = Sequence[Frame]
"""The frames of a stack, innermost first."""


def is_installed() -> bool:
    return _PERF is not None


@contextmanager
def sampling(pid: int, output: Path) -> Iterator[None]:
    """Sample a process and its threads until the block ends.

    Raises:
        RuntimeError: perf is not permitted to sample, or found nothing to sample.
    """
    assert _PERF
    command = [_PERF, "record", "-e", "cpu-clock", "-F", str(RATE_HZ), "-g", "-p", str(pid), "-o", str(output)]
    # perf ends with the signal that it was sent.
    with recording("perf", command, output, ended={0, -signal.SIGINT}):
        yield


def read(output: Path) -> list[Stack]:
    """Return the sampled stacks."""
    assert _PERF
    # Without this option, perf starts a program that takes minutes to look up inlined functions.
    command = [_PERF, "script", "--no-inline", "-F", "ip,sym,dso", "-i", str(output)]
    return list(stacks(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()))


def stacks(lines: Iterable[str]) -> Iterator[Stack]:
    """Parse the output of `perf script -F ip,sym,dso`: one frame per line, and an empty line after each stack."""
    stack: list[Frame] = []
    for line in [*lines, ""]:
        if found := _FRAME.match(line):
            address, symbol, path = found.groups()
            stack.append(Frame(int(address, 16), symbol, Path(path).name))
        elif stack and not line.strip():
            yield stack
            stack = []


def part(stack: Stack) -> str:
    """Return the part of the server that a sample belongs to."""
    if stack[0].in_kernel:
        return _kernel_part([frame.symbol for frame in stack if frame.in_kernel])
    name = next((name for pattern, name in _OBJECTS if pattern.search(stack[0].object)), "everything else")
    if name.startswith("our _core") and _HASHING.search(stack[0].symbol):
        return "our _core, hashing"
    return name


def _kernel_part(symbols: Sequence[str]) -> str:
    # Outermost first, to find the system call and not an interrupt that happened during it.
    calls = (found[1] for symbol in reversed(symbols) if (found := _SYSTEM_CALL.search(symbol)))
    call = next(calls, None)
    if call is None:
        if any("page_fault" in symbol for symbol in symbols):
            return "kernel, memory"
        # The thread was preempted.
        return _SWITCHING if any(symbol.startswith("schedule") for symbol in symbols) else "kernel, everything else"
    if call in {"read", "write", "readv", "writev"}:
        if any(symbol.startswith("eventfd_") for symbol in symbols):
            call = "eventfd"
        elif any(symbol.startswith("sock_") for symbol in symbols):
            call = "sock"
    return next((name for pattern, name in _CALLS if pattern.search(call)), "kernel, everything else")
