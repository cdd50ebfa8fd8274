"""A stop lets uploads and downloads finish within a time limit, and accepts no new requests."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.cli.process import Serve, eventually, serving

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SIZE = 1_000_000
CONTENT = bytes(range(256)) * (SIZE // 256)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class SlowUpload:
    """A blob in one POST, of which a part has been sent."""

    def __init__(self, server: Serve) -> None:
        self._server = server
        self.connection = server.connect()
        line = f"POST /v2/slow/blobs/uploads/?digest={DIGEST} HTTP/1.1\r\n"
        headers = f"Host: x\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
        self.connection.sendall((line + headers).encode() + CONTENT[: len(CONTENT) // 2])

    def finish(self) -> bytes:
        """Send the rest slowly, and return the first line of the answer."""
        rest = CONTENT[len(CONTENT) // 2 :]
        for start in range(0, len(rest), len(rest) // 8):
            self.connection.sendall(rest[start : start + len(rest) // 8])
            time.sleep(0.05)
        with self.connection.makefile("rb") as answer:
            return answer.readline()


def push(server: Serve, repository: str, content: bytes) -> str:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    connection = server.http()
    connection.request("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", content)
    assert connection.getresponse().status == 201
    return digest


def refuses_connections(server: Serve) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", SIGNALS)
def test_an_upload_in_progress_finishes(number: signal.Signals, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        upload = SlowUpload(server)
        idle, unused = server.http(), server.connect()
        idle.request("GET", "/v2/")
        idle.getresponse().read()

        server.signal(number)
        eventually(lambda: refuses_connections(server), "connections to be refused", server.printed)
        assert idle.sock.recv(1) == b"", "an idle connection is closed at once"
        assert unused.recv(1) == b"", "a connection that was never used is closed at once"
        server.wait_for("stopping: 1 request in progress")

        assert upload.finish() == b"HTTP/1.1 201 Created\r\n"
        assert server.exit_status() == 0
        assert f'"POST /v2/slow/blobs/uploads/" 201 in={len(CONTENT)}' in server.printed()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_download_in_progress_finishes(number: signal.Signals, tmp_path: Path) -> None:
    content = os.urandom(32 << 20)
    with serving(tmp_path) as server:
        digest = push(server, "slow", content)
        connection = server.http()
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.request("GET", f"/v2/slow/blobs/{digest}")
        response = connection.getresponse()
        received = response.read(1 << 20)

        server.signal(number)
        server.wait_for("stopping: 1 request in progress")
        received += response.read()

        assert hashlib.sha256(received).hexdigest() == digest.removeprefix("sha256:")
        assert server.exit_status() == 0


def test_a_server_without_requests_stops_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
        assert time.monotonic() - began < 2
        assert "stopping" not in server.printed()


def test_the_wait_is_bounded(tmp_path: Path) -> None:
    with serving(tmp_path, "--graceful-timeout", "500ms") as server:
        upload = SlowUpload(server)
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 1
        assert "stopping: cut off what did not finish: 1 request in progress" in server.printed()
        assert "Traceback" not in server.printed()
        # Either comes first: the answer of granian to a cancelled request, or the end of the connection.
        answer = upload.connection.recv(4096)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 500 ")


def test_a_second_signal_cuts_requests_off(tmp_path: Path) -> None:
    with serving(tmp_path, "--graceful-timeout", "1h") as server:
        SlowUpload(server)
        server.signal(signal.SIGINT)
        server.wait_for("1 request in progress; waiting up to 3600 s, or until a second signal")
        server.signal(signal.SIGINT)
        assert server.exit_status() == 1


def test_a_client_that_does_not_read_its_answer_cannot_delay_the_stop(tmp_path: Path) -> None:
    with serving(tmp_path, "--graceful-timeout", "500ms") as server:
        # So few bytes that the application has sent all, but more than the buffer of the client takes.
        digest = push(server, "slow", os.urandom(4 << 20))
        connection = server.opened.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"GET /v2/slow/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        connection.recv(1)
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 1


def test_signals_to_the_whole_group_do_no_harm(tmp_path: Path) -> None:
    """Ctrl-C in a terminal sends the signal to every process of the group."""
    with serving(tmp_path) as server:
        upload = SlowUpload(server)
        os.killpg(server.pid, signal.SIGINT)
        server.wait_for("stopping: 1 request in progress")
        assert upload.finish() == b"HTTP/1.1 201 Created\r\n"
        assert server.exit_status() == 0


def test_a_killed_server_leaves_nothing_behind(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.signal(signal.SIGKILL)
        assert server.exit_status() == -signal.SIGKILL
        assert refuses_connections(server)
        with pytest.raises(ProcessLookupError):
            os.killpg(server.pid, 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_load_balancers_have_time_to_notice_a_stop(workers: int, tmp_path: Path) -> None:
    arguments = ("--workers", str(workers), "--data", str(tmp_path / "data")) if workers > 1 else ()
    with serving(tmp_path, "--shutdown-delay", "1s", "--graceful-timeout", "1s", *arguments) as server:
        kept = server.http()
        kept.request("GET", "/readyz")
        assert kept.getresponse().read() == b"ok\n"
        upload = SlowUpload(server)

        server.signal(signal.SIGTERM)
        eventually(lambda: server.get("/readyz")[0] == 503, "503 at /readyz", server.printed)
        assert server.get("/readyz") == (503, b"the server is shutting down\n")
        kept.request("GET", "/readyz")
        assert kept.getresponse().read() == b"the server is shutting down\n"
        assert server.get("/v2/")[0] == 200
        push(server, "late", b"a request of a client that was sent here meanwhile")
        assert upload.finish() == b"HTTP/1.1 201 Created\r\n"

        eventually(lambda: refuses_connections(server), "connections to be refused", server.printed)
        assert server.exit_status() == 0


def test_a_second_signal_ends_the_delay(tmp_path: Path) -> None:
    with serving(tmp_path, "--shutdown-delay", "1h") as server:
        server.signal(signal.SIGTERM)
        server.wait_for("accepting requests for 3600 s")
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
