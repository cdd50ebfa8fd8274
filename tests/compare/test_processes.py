"""Memory of a server and all that it has started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from benches.compare.processes import peak_memory

MIB = 1024 * 1024
WORK = f"x = bytearray({64 * MIB})"
PARENT = (
    "import subprocess, sys\n"
    f"child = subprocess.Popen([sys.executable, '-c', {WORK!r} + \"\\nprint('done', flush=True); input()\"])\n"
    "child.wait()"
)


@pytest.fixture
def parent() -> Iterator[int]:
    """A process whose child has used 64 MiB, and waits."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"done\n"
    yield process.pid
    process.communicate(b"\n", timeout=10)


def test_what_a_child_uses_counts(parent: int) -> None:
    assert 64 < peak_memory(parent) < 512
