"""`ociserver serve` as a process, for tests of its start, its output and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.support import lifeline
from tests.support.leaks import given_secrets, refuse_secrets, watched

TIMEOUT_S = 30.0

_ADDRESS = re.compile(r"https?://([^\s/\"]+):(\d+)")


@dataclass(frozen=True, slots=True)
class Serve:
    """A server that has printed that it listens."""

    process: subprocess.Popen[bytes]
    output: Path
    host: str
    port: int
    opened: ExitStack
    """Connections of the test, closed when the server ends."""

    @property
    def pid(self) -> int:
        return self.process.pid

    def printed(self) -> str:
        """Everything that it has printed so far, on stdout and stderr."""
        return self.output.read_text()

    def wait_for(self, text: str) -> str:
        """Wait until it has printed this text. Returns everything that it has printed."""
        eventually(lambda: text in self.printed(), f"{text!r} in what the server prints", self.printed)
        return self.printed()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_status(self) -> int:
        """Wait for its end. Returns its exit status."""
        return self.process.wait(TIMEOUT_S)

    def connect(self) -> socket.socket:
        return self.opened.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S))

    def http(self) -> HTTPConnection:
        return self.opened.enter_context(closing(HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)))

    def get(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Send one request on a new connection."""
        connection = self.http()
        connection.request(method, path, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], None] | None = None,
    program: Sequence[str] | None = None,
) -> Iterator[Serve]:
    """Start a server on a free port. End it with the block, if it still runs. It must not have printed a secret.

    It serves from memory, unless the arguments name a folder or a configuration file. `prepare` is called in the new
    process before the server starts. `program` replaces the `ociserver` command.
    """
    store = () if {"--data", "--config"} & set(arguments) else ("--memory",)
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*([*program, "serve"] if program else command()), "--port", "0", *store, *arguments],
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    lifeline.add_server(process.pid)
    with watched(output, arguments, environment):
        try:
            address = _address(process, output)
            with ExitStack() as opened:
                yield Serve(process, output, address[1], int(address[2]), opened)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            lifeline.forget_server(process.pid)


def _address(process: subprocess.Popen[bytes], output: Path) -> re.Match[str]:
    def ended_or_listening() -> bool:
        return process.poll() is not None or bool(_ADDRESS.search(output.read_text()))

    eventually(ended_or_listening, "the line that says where the server listens", output.read_text)
    found = _ADDRESS.search(output.read_text())
    assert found, f"the server ended with {process.poll()}:\n{output.read_text()}"
    return found


def run_to_end(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command line that ends by itself. It must not print a secret."""
    done = subprocess.run(
        [*command(), *arguments],
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    refuse_secrets((done.stdout + done.stderr).encode(), given_secrets(arguments, environment or {}))
    return done


def command() -> list[str]:
    return [sys.executable, "-m", "ociserver", "serve"]


def clean_environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """The environment of the tests, without variables that set flags."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OCISERVER_")}
    return kept | dict(more or {})


def eventually(is_so: Callable[[], bool], what: str, tell: Callable[[], str]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {TIMEOUT_S} s for {what}:\n{tell()}"
        time.sleep(0.01)
