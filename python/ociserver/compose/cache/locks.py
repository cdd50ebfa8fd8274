"""Locks between worker processes: one file each, which the kernel unlocks when its process dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ociserver._core import digest_of
from ociserver.store.modes import PRIVATE, Modes

__all__ = ["POLL_S", "Lock", "Locks", "Note"]

POLL_S: Final = 0.01
"""How often a process looks whether another one has come further."""


HOLD_S: Final = 30.0
"""How long to wait for a process that does the same work. The lock only saves asking upstream twice: a process that has
waited for longer, because the other one stands still, does the work itself."""


class Note:
    """What the holder of a lock has written into its file, for those who wait for it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> bytes:
        """The newest text; it is always written whole, at one length."""
        return os.pread(self._fd, 512, 0)

    def close(self) -> None:
        """Let go of the file, which may have been deleted long ago."""
        os.close(self._fd)


class Lock:
    """One name. Without a folder nobody else can hold it."""

    def __init__(self, path: Path | None, modes: Modes = PRIVATE) -> None:
        self._path = path
        self._modes = modes
        self._fd = -1

    def acquire(self) -> bool:
        """Take it, if nobody has it."""
        if self._path is None:
            return True
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._modes.file)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            if _names(self._path, fd):
                os.ftruncate(fd, 0)
                self._fd = fd
                return True
            # Its holder has deleted the file between the two calls: that lock nobody else would see.
            os.close(fd)

    def write(self, note: bytes) -> None:
        """Tell those who wait; each note of a holder has the same length."""
        if self._fd >= 0:
            os.pwrite(self._fd, note, 0)

    def watch(self) -> Note | None:
        """The note of whoever has it."""
        assert self._path
        try:
            return Note(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            return None

    def release(self) -> None:
        """Let go of it, and of its file."""
        if self._fd >= 0:
            assert self._path
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1


class Locks:
    """The locks of a folder.

    Args:
        folder: what the processes share; None if there is only this one.
        modes: of the folder and its files.
    """

    def __init__(self, folder: Path | None, modes: Modes = PRIVATE) -> None:
        self._folder = folder
        self._modes = modes

    def open(self) -> None:
        """Make the folder."""
        if self._folder is not None:
            self._modes.make_folder(self._folder)

    def lock(self, *names: str) -> Lock:
        """The lock of something, whatever its name has in it."""
        if self._folder is None:
            return Lock(None)
        name = digest_of("\0".join(names).encode(), "sha256").partition(":")[2]
        return Lock(self._folder / name, self._modes)

    @asynccontextmanager
    async def hold(self, *names: str, wait_s: float = HOLD_S) -> AsyncIterator[None]:
        """Hold the lock of something; after `wait_s` go on without it."""
        lock = self.lock(*names)
        deadline = time.monotonic() + wait_s
        while not lock.acquire() and time.monotonic() < deadline:  # noqa: ASYNC110 - another process lets go
            await asyncio.sleep(POLL_S)
        try:
            yield
        finally:
            lock.release()


def _names(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False
