"""granian as a process of its own, the way the library is run in production."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.serving.site import TIMEOUT_S, Site
from tests.support.leaks import watched
from tests.support.server import free_port

_ROOT = Path(__file__).parents[2]


@contextmanager
def serve_with_granian(target: str, log: Path, *options: str) -> Iterator[Site]:
    """Serve `module:attribute` until the block ends; what the server prints goes into `log`."""
    host, port = "127.0.0.1", free_port()
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--no-ws", "--host", host, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options, target],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its workers form a group with it, so that none is left over.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, host, port, log)
        with watched(log):
            yield Site(host, port, _worker_of(process.pid))
        assert process.poll() is None, f"granian ended by itself:\n{log.read_text(errors='replace')}"
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not _answers(host, port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"granian did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


def _answers(host: str, port: int) -> bool:
    connection = HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def _worker_of(pid: int) -> int:
    """The worker that serves; granian's first process only watches over it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return pid  # no Linux: only tests of memory look at it
    for child in children:
        if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text():
            return int(child)
    return pid


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
