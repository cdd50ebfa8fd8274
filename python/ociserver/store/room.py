"""Whether there is room on the disk for what takes room: pushes, uploads and mounts.

All of these ask first (`Room.check`), and are refused with 507 before anything is written. Deletions and collection do
not ask: see `Upkeep`.
"""

from __future__ import annotations

import contextlib
import enum
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from ociserver.store.disk_reserve import SLICE, Reserve
from ociserver.store.errors import disk_full
from ociserver.store.work import Work

__all__ = ["LEAST", "MARGIN", "Room", "State"]

Result = TypeVar("Result")

CHECK_S: Final = 0.025
"""For how long ample room is taken for granted. A look takes three calls of the system, each of which gives the
interpreter away: with 5 ms small pushes took a tenth more processor time."""

LEAST: Final = 64 * 1024
"""Bytes that must be left for a push: what its metadata takes of the log."""

MARGIN: Final = 4 * SLICE
"""Bytes that must be left beside what refills the reserve, unless it was a deletion that made room: what one has just
given up for itself must not be taken back before it has used it."""


class State(enum.Enum):
    """Of the disk."""

    AMPLE = "pushes are taken"
    SHORT = "too little is left for pushes"
    DRAWN = "a part of the reserve was given up, and has to be there again before pushes are taken"


class Room:
    """What is left on the disk of a store. In any thread.

    Args:
        folder: of the store.
        reserve: in that folder.
        owed: bytes that the database's file still has to grow by, for what is in its log.
    """

    def __init__(self, folder: Path, reserve: Reserve, owed: Callable[[], int]) -> None:
        self._folder = folder
        self._owed = owed
        self._ample_until = 0.0
        self.reserve = reserve

    def check(self) -> None:
        """Let pass what takes room. Raises OCIError (507) if there is none."""
        now = time.monotonic()
        if now < self._ample_until:
            return
        if self.state() is not State.AMPLE:
            raise disk_full()
        self._ample_until = now + CHECK_S

    def admitted(self, work: Work[Result]) -> Work[Result]:
        """The work, which asks again when its turn has come: it may have waited."""

        def take() -> Work[Result]:
            self.check()
            return (yield from work)

        taking = take()
        taking.__name__ = work.__name__  # type: ignore[attr-defined]  # by which failpoints call it
        return taking

    def state(self) -> State:
        """Look. A reserve that is not whole is refilled if there is much more room than that takes."""
        left = self.left()
        if left is None:
            return State.AMPLE
        owed = max(self._owed(), 0)
        missing = self.reserve.missing()
        if missing and left >= missing + owed + MARGIN:
            try:
                self.reserve.refill(missing)
            except OSError:
                # Not for want of room: what comes next finds out why nothing can be written.
                return State.AMPLE
            missing = self.reserve.missing()
        if missing:
            return State.DRAWN
        return State.AMPLE if left >= owed + LEAST else State.SHORT

    def is_enough_for_log(self) -> bool:
        """Whether what the log owes fits on the disk with all of the reserve."""
        left = self.left()
        return left is None or self._owed() <= left + self.reserve.size - self.reserve.missing()

    def left(self) -> int | None:
        """Bytes that are left on the disk; None if its file system does not tell."""
        try:
            status = os.statvfs(self._folder)
        except OSError:
            return None
        return status.f_bavail * status.f_frsize if status.f_blocks else None

    def give_slice(self) -> bool:
        """Give up a slice of the reserve; False if there is none. From now on nothing takes room in this process."""
        self._ample_until = 0.0
        return self.reserve.give_slice()

    def refill(self, margin: int = 0) -> None:
        """Let what is free go to the reserve first, but for a margin."""
        left = self.left()
        with contextlib.suppress(OSError):
            self.reserve.refill(self.reserve.size if left is None else left - margin)
