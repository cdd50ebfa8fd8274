"""The power is cut at moments of a recording, and what a disk may hold then is opened.

Some sixty moments by default, each with nothing of what was not synced, with its names only, and with a part of it
that chance chooses. Where FULL_TESTS is set: many more, several such parts for each, and two workers too. A failure
names the moment and what was lost; the recording is kept in the test's temporary folder.
"""

from __future__ import annotations

import os
import random
import shutil
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ociserver.store.sqlite import Durability
from tests.store.crash.judging import assert_all_is_freed
from tests.store.crash.registry import Ledger, Registry
from tests.store.crash.scenarios import SCENARIOS, Round
from tests.store.crash.server import Victim
from tests.store.powercut.disk import Disk, Event, events
from tests.store.powercut.history import Timeline
from tests.store.powercut.judging import Seen, look
from tests.store.powercut.playing import record

FULL = bool(os.environ.get("FULL_TESTS"))
ROUNDS = 6 if FULL else 2
MOMENTS = 1200 if FULL else 60
SEEDS = 4 if FULL else 1

ALL = "all"
ALL_BUT_NAMES = "all but names"
"""What is lost of what was not synced. Anything else is the seed of a part of it."""

pytestmark = pytest.mark.timeout(3600 if FULL else 120)


@dataclass(frozen=True, slots=True)
class Recording:
    """A log, and what its clients were told.

    Args:
        root: the recorded folder; the store's is `data` in it.
        log: every event.
        timeline: what was acknowledged when.
    """

    root: Path
    log: list[Event]
    timeline: Timeline

    @classmethod
    def make(cls, folder: Path, durability: Durability, *options: str) -> Recording:
        server, histories = record(folder, ROUNDS, durability, *options)
        log = list(events(server.recording))
        recording = cls(server.disk, log, server.timeline(histories))
        synced = sum(event.op == "e" for event in log)
        print(f"{len(log)} events, {synced} syncs, {len(recording.timeline.acknowledged)} acknowledgements")
        return recording

    def of(self, op: str, suffix: str) -> list[Event]:
        """What was done to files whose path ends so."""
        found, opened = [], {}
        for event in self.log:
            if event.op == "O":
                opened[event.descriptor] = event.path
            elif event.op == op and opened[event.descriptor].endswith(suffix):
                found.append(event)
        return found

    def cuts(
        self, moments: Iterable[int], deaf_to: Callable[[str], bool] = lambda path: False
    ) -> Iterator[tuple[int, Disk]]:
        """The disk at each of these moments."""
        disk, wanted = Disk(self.root, deaf_to), set(moments)
        for event in self.log:
            disk.follow(event)
            if event.end in wanted:
                yield event.end, disk

    def look(self, disk: Disk, loss: str = ALL) -> Seen:
        """What a store finds that is opened on the disk after a power cut; one that is not special is a seed."""
        with TemporaryDirectory(dir=_memory()) as scratch:
            place = Path(scratch) / "disk"
            _write_out(disk, place, loss)
            return look(place / "data", self.timeline.paths)

    def moments(self, number: int) -> list[int]:
        """Acknowledgements, anything, and what is special: names that go, and syncs that are about to end."""
        chance = random.Random(number)
        special = [event.end for event in self.log if event.op == "U"]
        special += [before.end for before, event in zip(self.log, self.log[1:], strict=False) if event.op == "e"]
        anything = [event.end for event in self.log]
        chosen = {self.log[-1].end}
        for choice in (self.timeline.acknowledged, anything, special):
            chosen |= set(chance.sample(choice, min(number // 3, len(choice))))
        return sorted(chosen)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("powercut")


@pytest.fixture(scope="module", params=["1", "2"] if FULL else ["1"], ids=lambda workers: f"workers-{workers}")
def full(folder: Path, request: pytest.FixtureRequest) -> Recording:
    return Recording.make(folder / f"full-{request.param}", "full", "--workers", request.param)


def test_what_was_acknowledged_is_there(full: Recording) -> None:
    cuts = 0
    for moment, disk in full.cuts(full.moments(MOMENTS)):
        for loss in (ALL, ALL_BUT_NAMES, *(f"{moment} {number}" for number in range(SEEDS))):
            seen = full.look(disk, loss)
            assert seen.faults == [], (moment, loss)
            assert full.timeline.disagreements(seen.digests, moment) == [], (moment, loss)
            cuts += 1
    print(f"{cuts} power cuts")


def test_the_recording_has_what_can_go_wrong(full: Recording) -> None:
    """Group commit, SQLite's log copied back and begun again under way, and files that go."""
    syncs = [event.end for event in full.of("e", "/registry.db-wal")]
    of_each = Counter(bisect(syncs, moment) for moment in full.timeline.acknowledged)
    assert sum(count > 1 for count in of_each.values()) > 20
    assert len(full.of("W", "/registry.db")) > 100
    assert sum(event.offset == 0 for event in full.of("W", "/registry.db-wal")) > ROUNDS
    assert sum(event.op == "U" and "/blobs/" in event.path for event in full.log) > 10


@pytest.mark.parametrize("loss", [ALL, "some"])
def test_a_server_starts_and_serves(full: Recording, folder: Path, loss: str) -> None:
    """Not only the store: `ociserver serve`, a client that pulls all that it had pushed, and pushes again."""
    moments = random.Random(loss).sample(full.timeline.acknowledged, 20 if FULL else 1)
    for moment, disk in full.cuts(moments):
        place = folder / f"server {moment} {loss}"
        _write_out(disk, place, loss)
        with Victim(place) as server:
            server.start()
            registry = Registry(server.port, _certain(full.timeline, moment))
            registry.verify()
            for scenario in SCENARIOS:
                if scenario.name in ("image", "put-large", "chunks"):
                    scenario.act(Round(server, registry, f"afterwards/{scenario.name}", 0))
            registry.verify()
            registry.close()
            assert_all_is_freed(server.data)


def _write_out(disk: Disk, place: Path, loss: str) -> None:
    chance = None if loss in (ALL, ALL_BUT_NAMES) else random.Random(loss)
    disk.write_out(place, chance, names=loss == ALL_BUT_NAMES)


def _memory() -> Path | None:
    """A folder in memory, with room for a disk: some hundred folders are made and taken away for each."""
    path = Path("/dev/shm")
    there = path.is_dir() and os.access(path, os.W_OK) and shutil.disk_usage(path).free > 1 << 29
    return path if there else None


def _certain(timeline: Timeline, moment: int) -> Ledger:
    """What a client can count on that nobody was changing."""
    ledger = Ledger()
    for path in timeline.paths:
        match list(timeline.allowed(path, moment)):
            case [None] if "/uploads/" not in path:
                ledger.deleted(path)
            case [str(digest)]:
                ledger.pushed(digest, path)
    return ledger


DEAF = {
    "blobs": lambda path: "/blobs/" in path and len(Path(path).name) == 32,
    "their folders": lambda path: "/blobs/" in path and len(Path(path).name) == 2,
    "the folder of folders": lambda path: path.endswith("/blobs"),
    "the folder of all": lambda path: path.endswith("/data"),
    "the database": lambda path: path.endswith("/registry.db"),
    "its log": lambda path: path.endswith("/registry.db-wal"),
}
"""Syncs that could be forgotten."""


@pytest.mark.parametrize("forgotten", DEAF)
def test_a_forgotten_sync_would_be_noticed(full: Recording, forgotten: str) -> None:
    acknowledged = full.timeline.acknowledged
    moments = acknowledged[len(acknowledged) // 10 :: len(acknowledged) // 10]
    assert any(_is_lossy(full, moment, disk) for moment, disk in full.cuts(moments, DEAF[forgotten]))


def test_without_syncs_things_are_lost(folder: Path) -> None:
    """Of `--durability off`, as it says; and so the recorder sees what the server really does."""
    recording = Recording.make(folder / "off", "off")
    moments = recording.timeline.acknowledged[100::300]
    assert any(_is_lossy(recording, moment, disk) for moment, disk in recording.cuts(moments))


def _is_lossy(recording: Recording, moment: int, disk: Disk) -> bool:
    seen = recording.look(disk)
    return bool(seen.faults or recording.timeline.disagreements(seen.digests, moment))


def test_normal_loses_the_last_moments_only(folder: Path) -> None:
    """What is there was all there at one moment, and that was not before the last sync of the database's log."""
    normal = Recording.make(folder / "normal", "normal")
    # A sync is good for what was there when it began; of two that overlap, the earlier one is counted on.
    begun = [0, *(event.end for event in normal.of("b", "/registry.db-wal"))]
    ended = [event.end for event in normal.of("e", "/registry.db-wal")]
    lossy = 0
    for moment, disk in normal.cuts(normal.moments(MOMENTS // 3)):
        for loss in (ALL, ALL_BUT_NAMES, f"{moment}"):
            seen = normal.look(disk, loss)
            assert seen.faults == [], (moment, loss)
            synced = begun[bisect(ended, moment)]
            assert normal.timeline.agrees_between(seen.digests, synced, moment), (moment, loss)
            lossy += bool(normal.timeline.disagreements(seen.digests, moment))
    print(f"{lossy} cuts have taken something that was acknowledged")
    assert lossy
