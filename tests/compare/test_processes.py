"""Processor time and memory of a server and all that it has started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from benches.compare.processes import cpu_seconds, peak_memory, tree

MIB = 1024 * 1024
WORK = f"import time; x = bytearray({64 * MIB}); end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
PARENT = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {WORK!r} + \"\\nprint('done', flush=True); input()\"])\n"
    "child.wait()"
)


@pytest.fixture
def parent() -> Iterator[int]:
    """A process whose child has worked for 0.3 s on 64 MiB, and waits."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"done\n"
    yield process.pid
    process.communicate(b"\n", timeout=10)


def test_what_a_child_uses_counts(parent: int) -> None:
    assert len(tree(parent)) == 2
    assert cpu_seconds(parent) >= 0.3
    assert 64 < peak_memory(parent) < 512
