"""Several processes that serve one folder: how they start, are replaced, and stop."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.process import Serve, eventually, serving
from tests.serve.test_shutdown import SlowUpload, refuses_connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")


@contextlib.contextmanager
def two_workers(folder: Path, *arguments: str) -> Iterator[Serve]:
    with serving(folder, "--data", str(folder / "data"), "--workers", "2", *arguments) as server:
        yield server


def children(server: Serve) -> set[int]:
    path = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    return {int(pid) for pid in path.read_text().split()} if path.exists() else set()


def ask(server: Serve, count: int) -> None:
    # The connections stay open, so that one worker cannot accept all of them.
    connections = [server.http() for _ in range(count)]
    for connection in connections:
        connection.request("GET", "/v2/")
    assert {connection.getresponse().status for connection in connections} == {200}


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the second if it goes between open and read
        return True
    # A process that has ended, and that its new parent has not yet reaped.
    return status.rpartition(")")[2].split()[0] == "Z"


def test_both_serve(tmp_path: Path) -> None:
    with two_workers(tmp_path) as server:
        assert len(children(server)) == 2
        ask(server, 200)
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
        ids = re.findall(r"id=(\w+)-\d+$", server.printed(), re.MULTILINE)
        assert len(ids) == 200
        assert set(ids) <= {"ociserver1", "ociserver2"}


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    with two_workers(tmp_path) as server:
        before = children(server)
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        assert server.get("/v2/")[0] == 200, "the other one serves on"
        eventually(lambda: len(children(server) - before) == 1, "another worker", server.printed)
        assert children(server) == (before - {killed}) | (children(server) - before)
        assert "ended unexpectedly with status -9; starting another" in server.printed()
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0


def test_a_replacement_worker_gives_other_ids(tmp_path: Path) -> None:
    with two_workers(tmp_path) as server:
        ask(server, 100)
        killed = min(children(server))
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: is_gone(killed), "its end", server.printed)

        def third_answers() -> bool:
            ask(server, 20)
            return "id=ociserver3-" in server.printed()

        eventually(third_answers, "an answer of a third worker", server.printed)
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
        ids = re.findall(r"id=(\S+)$", server.printed(), re.MULTILINE)
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_upload_in_progress_finishes(number: signal.Signals, tmp_path: Path) -> None:
    with two_workers(tmp_path) as server:
        upload = SlowUpload(server)
        server.signal(number)
        eventually(lambda: refuses_connections(server), "connections to be refused", server.printed)
        server.wait_for("stopping: 1 request in progress")
        assert upload.finish() == b"HTTP/1.1 201 Created\r\n"
        assert server.exit_status() == 0


def test_a_second_signal_cuts_requests_off(tmp_path: Path) -> None:
    with two_workers(tmp_path, "--graceful-timeout", "1h") as server:
        SlowUpload(server)
        server.signal(signal.SIGTERM)
        server.wait_for("stopping: 1 request in progress")
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 1


def test_the_workers_of_a_killed_parent_end(tmp_path: Path) -> None:
    with two_workers(tmp_path) as server:
        workers = children(server)
        server.signal(signal.SIGKILL)
        assert server.exit_status() == -signal.SIGKILL
        for pid in workers:
            eventually(lambda pid=pid: is_gone(pid), "the workers to end", server.printed)  # type: ignore[misc]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
