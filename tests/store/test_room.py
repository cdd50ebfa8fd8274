"""The reserve and what is left on the disk: on a small one of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociserver import OCIError
from ociserver.store.disk_reserve import SIZE, SLICE, Reserve
from ociserver.store.modes import PRIVATE
from ociserver.store.room import LEAST, MARGIN, DiskRoom, State
from tests.faults.disk import Disk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        disk.data.mkdir()
        yield disk


class Owed:
    """Bytes by which the database file must still grow."""

    count = 0

    def __call__(self) -> int:
        return self.count


@pytest.fixture
def owed() -> Owed:
    return Owed()


@pytest.fixture
def room(disk: Disk, owed: Owed) -> DiskRoom:
    room = DiskRoom(disk.data, Reserve(disk.data / "reserve", PRIVATE), owed)
    room.refill()
    return room


def test_the_reserve_takes_room_and_gives_it_up_in_slices(disk: Disk) -> None:
    reserve = Reserve(disk.data / "reserve", PRIVATE)
    before = disk.left()
    assert reserve.missing() == SIZE
    assert not reserve.give_slice()
    reserve.refill(SIZE)
    assert reserve.missing() == 0
    assert before - disk.left() == SIZE
    for number in range(1, SIZE // SLICE + 1):
        assert reserve.give_slice()
        assert reserve.missing() == number * SLICE
        assert before - disk.left() == SIZE - number * SLICE
    assert not reserve.give_slice()


@pytest.mark.parametrize("most, taken", [(0, 0), (SLICE - 1, 0), (SLICE, SLICE), (3 * SLICE - 1, 2 * SLICE)])
def test_it_takes_no_more_than_it_may(disk: Disk, most: int, taken: int) -> None:
    reserve = Reserve(disk.data / "reserve", PRIVATE)
    reserve.refill(most)
    assert reserve.missing() == SIZE - taken


def test_it_takes_what_there_is(disk: Disk) -> None:
    """A partly allocated slice would look complete, but reserve no space."""
    reserve = Reserve(disk.data / "reserve", PRIVATE)
    disk.fill(leave=2 * SLICE + SLICE // 2)
    reserve.refill(SIZE)
    assert reserve.missing() == SIZE - 2 * SLICE
    status = (disk.data / "reserve").stat()
    assert status.st_blocks * 512 == status.st_size == 2 * SLICE


def test_states(disk: Disk, room: DiskRoom, owed: Owed) -> None:
    assert room.state() is State.AMPLE
    disk.fill(leave=2 * LEAST)
    assert room.state() is State.AMPLE
    owed.count = disk.left() - LEAST + 1
    assert room.state() is State.SHORT
    owed.count = -SIZE
    assert room.state() is State.AMPLE
    disk.fill()
    assert room.state() is State.SHORT
    assert room.give_slice()
    assert room.state() is State.DRAWN
    disk.make_room()
    assert room.state() is State.AMPLE
    assert room.reserve.missing() == 0


def test_what_a_deletion_has_given_up_is_not_taken_back(disk: Disk, room: DiskRoom) -> None:
    """A check does not refill it. A completed deletion does."""
    disk.fill()
    assert room.give_slice()
    assert room.give_slice()
    assert room.state() is State.DRAWN
    room.refill(MARGIN)
    assert room.reserve.missing() == 2 * SLICE
    room.refill()
    assert room.reserve.missing() == 0
    assert disk.left() == 0


def test_what_takes_room_is_refused(disk: Disk, room: DiskRoom) -> None:
    disk.fill()
    with pytest.raises(OCIError, match="disk is full") as caught:
        room.check()
    assert caught.value.status == 507
    disk.make_room()
    room.check()


def test_a_reserve_that_cannot_be_written_is_no_full_disk(disk: Disk, room: DiskRoom) -> None:
    """The next write reports what is wrong."""
    (disk.data / "reserve").unlink()
    (disk.data / "reserve").mkdir()
    (disk.data / "reserve" / "x").touch()
    assert room.state() is State.AMPLE


def test_how_much_the_log_may_owe(disk: Disk, room: DiskRoom, owed: Owed) -> None:
    disk.fill(leave=SLICE)
    owed.count = disk.left() + SIZE
    assert room.is_enough_for_log()
    owed.count += 1
    assert not room.is_enough_for_log()
    assert os.path.getsize(disk.data / "reserve") == SIZE
