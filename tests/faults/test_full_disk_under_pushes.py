"""A disk that pushes keep full: whatever is freed they would take, if they were let.

With FULL_TESTS the disk is larger, and every kind of content is tried with one worker and with two.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cli.process import eventually
from tests.faults.disk import Disk, small_disk
from tests.faults.registry import Registry, digest_of, ociserver
from tests.support.server import Server, serve

FULL = bool(os.environ.get("FULL_TESTS"))
DISK = "48m" if FULL else "10m"
ROUNDS = 5 if FULL else 1
SMALL, LARGE = 10_000, 200_000
"""In the database, and in a file of its own."""

COLLECT = ("collect", "--grace", "0s")
CASES = [(SMALL, "1"), (SMALL, "2"), (LARGE, "1"), (LARGE, "2")]

pytestmark = pytest.mark.timeout(600 if FULL else 120)


class Pusher(threading.Thread):
    """Pushes contents of one size without pause, until it is stopped."""

    def __init__(self, server: Server, size: int, pushed: list[bytes]) -> None:
        super().__init__()
        self._registry = Registry(server)
        self._size = size
        self._pushed = pushed
        self.stop = threading.Event()
        self.accepted = self.refused = 0

    def run(self) -> None:
        while not self.stop.is_set():
            content = os.urandom(self._size)
            answer = self._registry.push(content)
            if answer.status == 201:
                self._pushed.append(content)
                self.accepted += 1
            else:
                assert answer.status == 507
                self.refused += 1


@contextmanager
def pushing(server: Server, size: int, pushed: list[bytes]) -> Iterator[list[Pusher]]:
    """Two clients that never stop."""
    pushers = [Pusher(server, size, pushed) for _ in range(2)]
    for pusher in pushers:
        pusher.start()
    try:
        yield pushers
    finally:
        for pusher in pushers:
            pusher.stop.set()
        for pusher in pushers:
            pusher.join()


def wait_until_refused(server: Server, pushers: list[Pusher]) -> None:
    before = [pusher.refused for pusher in pushers]
    eventually(
        lambda: all(each.refused > n + 10 for each, n in zip(pushers, before, strict=True)),
        "a full disk",
        server.log_tail,
    )


def reserve_of(disk: Disk) -> int:
    return (disk.data / "registry.reserve").stat().st_size


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", DISK) as disk:
        yield disk


@pytest.mark.parametrize("size, workers", CASES if FULL else [CASES[0], CASES[3]])
def test_pushes_that_never_stop(disk: Disk, tmp_path: Path, size: int, workers: str) -> None:
    """Deleting and collecting work every time, and when there is room pushes go on; what they cannot keep is gone."""
    pushed: list[bytes] = []
    arguments = ("--data", str(disk.data), "--workers", workers, "--collect-every", "0", "--no-access-log")
    with serve(arguments, tmp_path) as server:
        registry, chance = Registry(server), random.Random(size)
        whole = reserve_of(disk)

        def delete(count: int) -> None:
            for _ in range(count):
                content = pushed.pop(chance.randrange(len(pushed)))
                assert registry.blob(content, "DELETE").status == 202
                assert registry.blob(content).status == 404

        with pushing(server, size, pushed) as pushers:
            for _ in range(ROUNDS):
                wait_until_refused(server, pushers)
                delete(3)
                assert "freed" in ociserver(*COLLECT, "--data", disk.data)
            for _ in range(ROUNDS):
                wait_until_refused(server, pushers)
                many = len(pushed) // (2 if FULL else 5)
                wanted = sum(pusher.accepted for pusher in pushers) + many // 2
                delete(many)
                ociserver(*COLLECT, "--data", disk.data)
                eventually(
                    lambda: sum(pusher.accepted for pusher in pushers) > wanted,  # noqa: B023
                    "pushes that go on",
                    server.log_tail,
                )
        eventually(lambda: reserve_of(disk) == whole, "the reserve", server.log_tail)
        for content in pushed:
            assert registry.blob(content).body == content
    assert "nothing is wrong" in ociserver("check", "--content", "--data", disk.data)
    assert_nothing_is_left_behind(disk.data, pushed)


def assert_nothing_is_left_behind(data: Path, pushed: list[bytes]) -> None:
    """Of pushes that failed: no upload, no byte."""
    with closing(sqlite3.connect(data / "registry.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM uploads").fetchone() == (0,)
        in_files = database.execute("SELECT SUM(size) FROM copies WHERE key IS NOT NULL").fetchone()[0] or 0
        linked = {row[0] for row in database.execute("SELECT c.digest FROM links l JOIN copies c ON c.id = l.copy_id")}
    assert sum(path.stat().st_size for path in (data / "blobs").glob("*/*")) == in_files
    assert linked == {digest_of(content) for content in pushed}
