"""Servers as processes that a test can stop, kill and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Self

from tests.support import lifeline

__all__ = ["Process"]

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 45.0
"""Longer than the default time that requests of our server have to finish."""
_POLL_S: Final = 0.005
_LOG_TAIL: Final = 4096


class Process:
    """A program that listens on a port of 127.0.0.1. A new start has the same port, arguments and files.

    Args:
        command: the program and its arguments.
        port: where it listens.
        log: its output is appended to this file.
        environment: added to the environment of the tests.
        ready: a path that answers 200 when the program is ready. By default it is when it accepts connections.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        ready: str | None = None,
    ) -> None:
        self.port = port
        self.log = log
        self._command = command
        self._ready = ready
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The id of the process that runs now."""
        if self._process is None:
            raise RuntimeError(f"{self._command[0]} does not run")
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and neither stopped nor killed."""
        return self._process is not None

    def log_tail(self) -> str:
        """The end of its output."""
        return self.log.read_bytes()[-_LOG_TAIL:].decode(errors="replace")

    def start(self) -> None:
        """Start the program, and wait until it is ready."""
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Its workers join its process group, so that `kill` reaches them, and a Ctrl-C reaches only the test.
                start_new_session=True,
            )
        self._process = process
        lifeline.add_server(process.pid)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._command[0]} does not start: {self.log_tail()}")
            time.sleep(_POLL_S)

    def stop(self) -> int | None:
        """Ask the program to end, wait until it has, and return its exit status. None if it does not run."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program and all that it has started."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(number)
        try:
            return process.wait(STOP_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            lifeline.forget_server(process.pid)

    def _is_ready(self) -> bool:
        try:
            if self._ready is None:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return True
            connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                connection.request("GET", self._ready)
                return connection.getresponse().status == 200
            finally:
                connection.close()
        except (OSError, HTTPException):
            return False
