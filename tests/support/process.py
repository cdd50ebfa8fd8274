"""Servers that are not ours, as processes that a test can stop, kill and start again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

__all__ = ["Process"]

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.005
_LOG_TAIL: Final = 4096


class Process:
    """A program that listens on a port of 127.0.0.1. A new start has the same port, arguments and files.

    Args:
        command: the program and its arguments.
        port: where it listens.
        log: its output is appended to this file.
        environment: added to the environment of the tests.
    """

    def __init__(
        self, command: Sequence[str], port: int, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self.log = log
        self._command = command
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

    def start(self) -> None:
        """Start the program, and wait until it accepts connections."""
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
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._accepts():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_bytes()[-_LOG_TAIL:].decode(errors="replace")
                raise RuntimeError(f"{self._command[0]} does not start: {tail}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """Ask the program to end, and wait until it has."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the process (all processes of its group if it kills), and wait until it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True
