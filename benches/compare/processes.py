"""Starts servers as processes, times their first answer, and reads their usage from /proc (Linux)."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ociserver.bench.server_cpu import process_tree

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.002
"""Seconds between two attempts to reach a server: the error of its start-up time."""

_LOG_TAIL: Final = 2000
_ANSWERED: Final = (b"200", b"401")
"""Statuses of GET /v2/ of a running registry, without or with authentication."""


@dataclass(frozen=True, slots=True)
class Process:
    """A server that is running, and the seconds from its start to its first answer."""

    pid: int
    start_s: float


@contextmanager
def running(
    command: Sequence[str], port: int, log: Path, environment: Mapping[str, str], *, tls: bool = False
) -> Iterator[Process]:
    """Run a registry until the block ends. Its output goes into `log`. With `tls` it serves HTTPS.

    Raises:
        RuntimeError: it does not start. The message has the end of its output.
    """
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its workers join its process group, so that none is left over.
            start_new_session=True,
        )
    try:
        while not _answers(port, tls=tls):
            if process.poll() is not None or time.perf_counter() - began > START_TIMEOUT_S:
                tail = log.read_bytes()[-_LOG_TAIL:].decode(errors="replace")
                raise RuntimeError(f"{command[0]} did not start: {tail}")
            time.sleep(_POLL_S)
        yield Process(process.pid, time.perf_counter() - began)
    finally:
        _stop(process)


def _answers(port: int, *, tls: bool) -> bool:
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            if tls:
                context = ssl.create_default_context()
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname="localhost"))
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return connection.recv(12)[9:12] in _ANSWERED
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def peak_memory(pid: int) -> float:
    """Return the sum of the peak resident memory in MiB of a process and its descendants."""
    kib = 0
    for process in process_tree(pid):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                kib += int(line.split()[1])
    return kib / 1024
