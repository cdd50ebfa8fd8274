"""What a service manager is told, over the socket that `sd_notify(3)` describes."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from tests.cli.process import TIMEOUT_S, Serve, eventually, serving
from tests.support.server import free_port

WATCHDOG_S: Final = 0.2


class Manager:
    """A unix socket that takes states, as systemd's does: a thread reads them at once."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._states: queue.Queue[str] = queue.Queue()
        self.variables = {"NOTIFY_SOCKET": address}
        self.port = port
        self.answer: int | None = None
        """What the server has answered to /readyz when it said that it is ready, if its port is known."""
        self.keep_alives = 0
        """How many have arrived."""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while state := self._socket.recv(4096).decode():
            if state == "WATCHDOG=1":
                self.keep_alives += 1
                continue
            if state == "READY=1" and self.port:
                self.answer = self._ask()
            self._states.put(state)

    def _ask(self) -> int | None:
        """The status of /readyz at this moment."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def next(self) -> str:
        """The next state other than a keep-alive."""
        return self._states.get(timeout=TIMEOUT_S)

    def is_silent(self) -> bool:
        """Whether no other state has arrived."""
        return self._states.empty()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@contextmanager
def managed(address: str, port: int = 0) -> Iterator[Manager]:
    manager = Manager(address, port)
    try:
        yield manager
    finally:
        manager.close()


@contextmanager
def serving_by(manager: Manager, folder: Path, *arguments: str, **variables: str) -> Iterator[Serve]:
    file = folder / "registry.toml"
    file.write_text(f'[registry]\nkind = "store"\ndata = "{folder / "data"}"\n')
    environment = manager.variables | variables
    with serving(folder, "--config", str(file), *arguments, environment=environment) as server:
        yield server


@pytest.mark.parametrize("workers", [1, 2])
def test_a_whole_life(workers: int, tmp_path: Path) -> None:
    port = free_port()
    arguments = ("--workers", str(workers), "--port", str(port))
    with managed(str(tmp_path / "notify"), port) as manager, serving_by(manager, tmp_path, *arguments) as server:
        assert manager.next() == "READY=1"
        assert manager.answer == 200, "it is ready when it says so"

        server.signal(signal.SIGHUP)
        before_us = time.monotonic_ns() // 1000
        name, reload_us = manager.next().split("\nMONOTONIC_USEC=")
        assert name == "RELOADING=1"
        assert abs(int(reload_us) - before_us) < TIMEOUT_S * 1_000_000
        assert manager.next() == "READY=1"
        server.wait_for("the configuration was reloaded")

        (tmp_path / "registry.toml").write_text("[server]\nport = false\n")
        server.signal(signal.SIGHUP)
        assert manager.next().startswith("RELOADING=1")
        assert manager.next() == "READY=1", "a reload that failed has ended too"

        server.signal(signal.SIGTERM)
        assert manager.next() == "STOPPING=1"
        assert server.exit_status() == 0
        assert manager.is_silent(), "workers do not speak for their parent"


def test_the_stop_is_told_while_requests_finish(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify")) as manager, serving_by(manager, tmp_path) as server:
        assert manager.next() == "READY=1"
        connection = server.connect()
        connection.sendall(
            b"POST /v2/a/blobs/uploads/?digest=sha256:00 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1"
        )
        server.signal(signal.SIGTERM)
        assert manager.next() == "STOPPING=1"
        connection.close()
        assert server.exit_status() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_keep_alives_come_twice_in_the_time_of_the_watchdog(workers: int, tmp_path: Path) -> None:
    watchdog = {"WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000))}
    address = f"@ociserver-{os.getpid()}-{workers}"
    with managed(address) as manager, serving_by(manager, tmp_path, "--workers", str(workers), **watchdog) as server:
        assert manager.next() == "READY=1"
        before, start = manager.keep_alives, time.monotonic()
        eventually(lambda: manager.keep_alives >= before + 10, "ten keep-alives", server.printed)
        # A little less than half of the watchdog's time lies between two.
        assert time.monotonic() - start > 8 * WATCHDOG_S / 2
        server.signal(signal.SIGSTOP)
        time.sleep(WATCHDOG_S)
        before = manager.keep_alives
        time.sleep(2 * WATCHDOG_S)
        assert manager.keep_alives == before, "a frozen server sends none"
        server.signal(signal.SIGCONT)


def test_no_keep_alives_for_a_watchdog_of_another_process(tmp_path: Path) -> None:
    watchdog = {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with managed(str(tmp_path / "notify")) as manager, serving_by(manager, tmp_path, **watchdog):
        assert manager.next() == "READY=1"
        time.sleep(0.1)
        assert manager.keep_alives == 0


def test_a_manager_that_is_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    with serving(tmp_path, environment={"NOTIFY_SOCKET": str(tmp_path / "nothing")}) as server:
        assert "could not be told READY=1: No such file" in server.wait_for("could not be told")
        assert server.get("/v2/")[0] == 200
