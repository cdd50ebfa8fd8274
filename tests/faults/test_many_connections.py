"""Ten thousand connections that say nothing, beside clients that want something."""

from __future__ import annotations

import re
import resource
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.registry import SMALL, Registry
from tests.support.server import Server, serve, workers_of

WANTED = 10_000
SPARE = 500
DEFAULT = 1024
pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

REQUEST = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"


def open_files_allowed() -> int:
    """As many as this process, and those that it starts, may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


@contextmanager
def idle(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """So many connections; each is answered once, so that the server has it, and not the kernel."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(socket.create_connection((server.host, server.port), timeout=30))
            opened[-1].sendall(REQUEST)
            assert opened[-1].recv(4096).startswith(b"HTTP/1.1 200 ")
        yield opened
    finally:
        for connection in opened:
            connection.close()


def memory_of(pids: list[int]) -> int:
    """Bytes that these processes have in memory."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024 for text in texts)


@pytest.mark.timeout(120)
def test_ten_thousand(tmp_path: Path) -> None:
    allowed = open_files_allowed()
    # Two files are counted for each connection: two processes share them where one may not have so many.
    count = min(WANTED, allowed - SPARE)
    if count < WANTED:
        print(f"only {count} connections: the hard limit of open files is {allowed}")
    arguments = ["--data", str(tmp_path / "data"), "--max-connections", "12000", "--no-access-log", "--workers", "2"]
    with serve(arguments, tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        workers = workers_of(server)
        before = memory_of(workers)
        began = time.monotonic()
        with idle(server, count) as connections:
            took = time.monotonic() - began
            each = (memory_of(workers) - before) / count
            times = []
            for number in range(200):
                began = time.monotonic()
                answer = registry.push(b"%d" % number) if number % 2 else registry.blob(SMALL)
                times.append(time.monotonic() - began)
                assert answer.status in (200, 201)
            # None of those that are idle was given up for the others.
            for connection in connections[:: count // 100]:
                connection.sendall(REQUEST)
                assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        print(f"{count} connections, opened and answered in {took:.1f} s: {each / 1024:.1f} KiB each")
        print(f"beside them: median {statistics.median(times) * 1e3:.1f} ms, longest {max(times) * 1e3:.1f} ms")
        assert each < 32 * 1024
        assert statistics.median(times) < 0.1
        registry.assert_reads()


def test_more_than_are_allowed(tmp_path: Path) -> None:
    """Further ones are connected by the kernel and wait; each that goes lets one in."""
    open_files_allowed()
    with serve(["--data", str(tmp_path / "data")], tmp_path) as server, idle(server, DEFAULT) as connections:
        late = socket.create_connection((server.host, server.port), timeout=1)
        with late:
            late.sendall(REQUEST)
            with pytest.raises(TimeoutError):
                late.recv(4096)
            connections.pop().close()
            late.settimeout(10)
            assert late.recv(4096).startswith(b"HTTP/1.1 200 ")
