"""Connections and open files: as many as were requested, or as the machine allows."""

from __future__ import annotations

import re
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.process import Serve, serving

SOFT, HARD = 200, 300


def limit_files(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files_limit(server: Serve) -> int:
    found = re.search(r"Max open files\s+(\d+)", Path(f"/proc/{server.pid}/limits").read_text())
    assert found
    return int(found[1])


def ask(connection: socket.socket) -> bytes:
    connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection.recv(12)


def test_connections_beyond_the_bound_wait(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-connections", "3") as server:
        accepted = [server.connect() for _ in range(3)]
        assert {ask(connection) for connection in accepted} == {b"HTTP/1.1 200"}
        waiting = server.connect()
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            ask(waiting)
        accepted[0].close()
        waiting.settimeout(10)
        assert waiting.recv(12) == b"HTTP/1.1 200"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_soft_limit_of_open_files_is_raised(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-connections", "50", prepare=limit_files(SOFT, HARD)) as server:
        assert open_files_limit(server) >= 50 * 2 + 128
        assert "open files" not in server.printed()


def test_a_hard_limit_of_open_files_bounds_connections(tmp_path: Path) -> None:
    with serving(tmp_path, prepare=limit_files(SOFT, HARD)) as server:
        allowed = (HARD - 128) // 2
        assert f"the limit of open files (ulimit -n) allows only {allowed} connections" in server.printed()
        assert "for 1024, raise its hard limit to 2176" in server.printed()
        # More connections than allowed: the server neither fails nor spins, and the others wait.
        connections = [server.connect() for _ in range((HARD - 128) // 2 + 50)]
        assert {ask(connection) for connection in connections[:50]} == {b"HTTP/1.1 200"}
        for connection in connections:
            connection.close()
        assert server.get("/readyz")[0] == 200
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
