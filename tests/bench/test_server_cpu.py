"""The processor time of a server on this machine: its processes are found by the port, with their descendants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ociserver.bench.server_cpu import process_tree, server_cpu_seconds, server_processes

USED_S = 0.3
SERVER = f"""
import os, socket, time
listener = socket.create_server(("127.0.0.1", 0))
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    listener.close()
while time.process_time() < {USED_S}:
    pass
if child == 0:
    os.write(writing, b".")
else:
    os.read(reading, 1)
    print(listener.getsockname()[1], child, flush=True)
time.sleep(60)
"""
"""Listens in one of two processes. Each has used 0.3 s of processor time when the port and the child are printed."""


@contextmanager
def server() -> Iterator[tuple[int, int, int]]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            port, child = process.stdout.readline().split()
            yield process.pid, int(port), int(child)
        finally:
            for pid in reversed(process_tree(process.pid)):
                os.kill(pid, signal.SIGKILL)


def test_the_processes_that_listen_at_a_port_are_found() -> None:
    with server() as (pid, port, child):
        for host in ("127.0.0.1", "localhost"):
            assert server_processes(host, port) == (pid,)
        assert process_tree(pid) == [pid, child]
        # The same port of another machine (RFC 5737).
        assert server_processes("192.0.2.1", port) == ()
    assert server_processes("127.0.0.1", port) == ()
    assert process_tree(pid) == []


def test_the_time_of_descendants_counts() -> None:
    with server() as (pid, _, child):
        of_child, of_both = server_cpu_seconds((child,)), server_cpu_seconds((pid,))
        assert of_child is not None
        assert of_both is not None
        assert of_child >= USED_S
        assert of_both - of_child >= USED_S
        # A descendant that is named too counts once.
        assert server_cpu_seconds((pid, child)) == pytest.approx(of_both, abs=0.1)


def test_no_process_has_no_time() -> None:
    assert server_cpu_seconds(()) is None
