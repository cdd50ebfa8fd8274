"""Whether the disk has space for work that needs space: pushes, uploads and mounts.

All of these call `Room.check` first, and are refused with 507 before anything is written. Deletions and collection do
not call it: see `Upkeep`.
"""

from __future__ import annotations

import contextlib
import enum
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from ociserver.store.disk_reserve import SLICE, Reserve
from ociserver.store.errors import disk_full

__all__ = ["LEAST", "MARGIN", "DiskRoom", "EndlessRoom", "Room", "State"]

CHECK_S: Final = 0.025
"""Seconds for which ample space is remembered. A check takes three system calls, and each of them releases the GIL:
with 5 ms, small pushes took a tenth more processor time."""

LEAST: Final = 64 * 1024
"""Bytes that must be free for a push: its metadata takes this much of the log."""

MARGIN: Final = 4 * SLICE
"""Bytes that must be free in addition to those that refill the reserve, unless a deletion has freed them. Otherwise a
refill could take back the slice that a deletion has just given up, before the deletion has used it."""


class State(enum.Enum):
    """The state of the disk."""

    AMPLE = "pushes are accepted"
    SHORT = "there is too little space for pushes"
    DRAWN = "a part of the reserve was given up, and must be refilled before pushes are accepted"


class Room(Protocol):
    """Whether there is space for what needs space. Any thread may use it."""

    def check(self) -> None:
        """Raises OCIError (507) if there is no space for work that needs space."""

    def state(self) -> State:
        """Check the disk. An incomplete reserve is refilled, if there is much more space than that needs."""

    def is_enough_for_log(self) -> bool:
        """Whether the contents of the log fit on the disk, if the whole reserve is given up."""

    def left(self) -> int | None:
        """Free bytes on the disk; None if they are not known."""

    def is_complete(self) -> bool:
        """Whether nothing is missing from the reserve."""

    def give_slice(self) -> bool:
        """Give up a slice of the reserve. False if there is none. Until it is refilled, `check` refuses."""

    def refill(self, margin: int = 0) -> None:
        """Refill the reserve from the free space, except for a margin."""


class EndlessRoom:
    """The `Room` of a store that keeps nothing on a disk of this machine."""

    def check(self) -> None:
        pass

    def state(self) -> State:
        return State.AMPLE

    def is_enough_for_log(self) -> bool:
        return True

    def left(self) -> int | None:
        return None

    def is_complete(self) -> bool:
        return True

    def give_slice(self) -> bool:
        return False

    def refill(self, margin: int = 0) -> None:
        pass


class DiskRoom:
    """The `Room` of a store with a folder.

    Args:
        folder: the folder of the store.
        reserve: the reserve in that folder.
        owed: returns the bytes by which the database file must still grow, for the contents of its log.
    """

    def __init__(self, folder: Path, reserve: Reserve, owed: Callable[[], int]) -> None:
        self._folder = folder
        self._owed = owed
        self._ample_until = 0.0
        self.reserve = reserve

    def check(self) -> None:
        now = time.monotonic()
        if now < self._ample_until:
            return
        if self.state() is not State.AMPLE:
            raise disk_full()
        self._ample_until = now + CHECK_S

    def state(self) -> State:
        left = self.left()
        if left is None:
            return State.AMPLE
        owed = max(self._owed(), 0)
        missing = self.reserve.missing()
        if missing and left >= missing + owed + MARGIN:
            try:
                self.reserve.refill(missing)
            except OSError:
                # The disk is not full. The next write reports why nothing can be written.
                return State.AMPLE
            missing = self.reserve.missing()
        if missing:
            return State.DRAWN
        return State.AMPLE if left >= owed + LEAST else State.SHORT

    def is_enough_for_log(self) -> bool:
        left = self.left()
        return left is None or self._owed() <= left + self.reserve.size - self.reserve.missing()

    def left(self) -> int | None:
        # Some file systems do not report it.
        try:
            status = os.statvfs(self._folder)
        except OSError:
            return None
        return status.f_bavail * status.f_frsize if status.f_blocks else None

    def is_complete(self) -> bool:
        return not self.reserve.missing()

    def give_slice(self) -> bool:
        self._ample_until = 0.0
        return self.reserve.give_slice()

    def refill(self, margin: int = 0) -> None:
        left = self.left()
        with contextlib.suppress(OSError):
            self.reserve.refill(self.reserve.size if left is None else left - margin)
