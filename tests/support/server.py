"""Runs `ociserver serve` as a process, as a user does."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.support import lifeline
from tests.support.leaks import watched

PROGRAM = (sys.executable, "-m", "ociserver")
START_TIMEOUT_S = 30.0
# Longer than the default time that requests have to finish after a signal.
STOP_TIMEOUT_S = 45.0
_LOG_TAIL_BYTES = 16 * 1024
# Below those that Linux and macOS choose for the clients' ends of connections.
_PORTS = range(10_000, 32_768)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    host: str
    port: int
    pid: int
    log: Path
    others: tuple[Server, ...] = ()
    """Further nodes, which share its address."""

    @property
    def address(self) -> str:
        """`host:port`, the beginning of a reference."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def nodes(self) -> tuple[Server, ...]:
        """All nodes; the server itself if it is only one."""
        return (self, *self.others)

    def log_tail(self) -> str:
        """The end of the log of each node."""
        return "\n".join(node.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace") for node in self.nodes)


@contextmanager
def serve(arguments: Sequence[str], folder: Path, *, program: Sequence[str] = PROGRAM) -> Iterator[Server]:
    """Run `ociserver serve` with these arguments until the block ends. Its log is in `folder`.

    The test fails if the server ends by itself, exits with an error, or logs a traceback or a secret, whatever the
    client received. Otherwise a client that retries could hide a 500.
    """
    host, port = "127.0.0.1", free_port()
    log = folder / "server.log"
    command = [*program, "serve", *arguments, "--host", host, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            # The settings of the person who runs the tests must not change the result.
            env={name: value for name, value in os.environ.items() if not name.startswith("OCISERVER_")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A separate process group, so that the test can kill the workers too, and a Ctrl-C reaches only the test.
            start_new_session=True,
        )
    lifeline.add_server(process.pid)
    server = Server(host, port, process.pid, log)
    with watched(log, arguments):
        try:
            _wait_until_ready(process, server)
            yield server
            assert process.poll() is None, f"the server ended by itself ({process.returncode}):\n{server.log_tail()}"
        finally:
            _stop(process)
            lifeline.forget_server(process.pid)
    text = log.read_text(errors="replace")
    code, at = process.returncode, text.find("Traceback")
    assert code in {0, -signal.SIGTERM}, f"the server left with {code}:\n{server.log_tail()}"
    assert at == -1, f"the server printed a traceback:\n{text[at : at + _LOG_TAIL_BYTES]}"


def free_port() -> int:
    """A port on which no process listens at present, and that no connection of a client gets.

    Otherwise a connection could take it while its server is down, or before it starts.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def _wait_until_ready(process: subprocess.Popen[bytes], server: Server) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(server):
        code = process.poll()
        if code is not None:
            raise RuntimeError(f"the server ended before it was ready ({code}):\n{server.log_tail()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server was not ready in {START_TIMEOUT_S} s:\n{server.log_tail()}")
        time.sleep(0.05)


def _is_ready(server: Server) -> bool:
    connection = HTTPConnection(server.host, server.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def workers_of(server: Server) -> list[int]:
    """The process ids of its workers (Linux)."""
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]
