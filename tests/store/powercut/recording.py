"""A server whose changes are written down, and clients that remember what they were told, and when."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from http.client import HTTPConnection
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

from ociserver.store.failpoint import VARIABLE
from ociserver.store.sqlite import Durability
from tests.store.crash.registry import Answer, Registry
from tests.store.crash.scenarios import LARGE, Round
from tests.store.crash.server import DEATH_S, Victim
from tests.store.powercut.disk import Disk, events
from tests.store.powercut.history import History, Timeline
from tests.store.powercut.library import library

# No generator: of several threads, which share it, only one may be in it.
_addresses = count(int(IPv4Address("127.1.0.1")))

FILE = 60_000
"""Bytes of most blobs that are kept in files, so that a log with many pushes stays small."""


class Recorded(Victim):
    """A server under the recorder; `disk` is what is recorded, with the data's folder in it."""

    program = Path(__file__).with_name("serving.py")

    def __init__(self, folder: Path, durability: Durability, *options: str) -> None:
        super().__init__(folder, "--durability", durability, "--collect-every", "0", *options)
        self.disk = folder.resolve() / "disk"
        self.disk.mkdir()
        self.data = self.disk / "data"
        self.recording = folder.resolve() / "recording"
        self.recording.touch()
        self._durability = durability
        self._library = library(folder)

    def environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        environment |= {"LD_PRELOAD": str(self._library), "RECORD_ROOT": str(self.disk)}
        return {**environment, "RECORD_LOG": str(self.recording)}

    def stop(self) -> None:
        """Have it end by itself."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(DEATH_S) == 0
        self._process = None

    def collect(self) -> None:
        """Beside the server, with its durability."""
        program = Path(__file__).with_name("collecting.py")
        command = [sys.executable, str(program), str(self.data), self._durability]
        subprocess.run(command, env=self.environment(), check=True, timeout=60)

    def timeline(self, histories: Iterable[History]) -> Timeline:
        return Timeline(histories, events(self.recording))

    def assert_complete(self) -> None:
        """What is in the folder is what the log says; call it when nothing runs."""
        disk = Disk(self.disk)
        for event in events(self.recording):
            disk.follow(event)
        paths = (path for path in self.disk.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
        there = {str(path.relative_to(self.disk)): path.read_bytes() for path in paths}
        assert disk.files() == there


class Witness(Registry):
    """A client each of whose connections can be told by its address."""

    def __init__(self, port: int, history: History) -> None:
        self._history = history
        super().__init__(port, history)

    def connect(self, port: int) -> None:
        self._address = next(_addresses)
        self._answers = 0
        source = str(IPv4Address(self._address)), 0
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60, source_address=source)

    def request(
        self, method: str, target: str, expected: Iterable[int], body: bytes | None = None, **headers: str
    ) -> Answer:
        answer = super().request(method, target, expected, body, **headers)
        self._answers += 1
        self._history.last_answer = self._address, self._answers
        return answer


class SmallRound(Round):
    """A round whose large blobs are of a few sectors only."""

    def content(self, name: str, size: int = 1_000) -> bytes:
        return super().content(name, FILE if size == LARGE else size)
