"""Room on the disk that is kept for making room: deleting writes too, and on a full disk could not.

The file is what the processes of a store share of the state of their disk. It is whole when it has its full size. What
deletes and collects may take slices of it, when nothing else is left; then it is not whole, and nothing else may take
room (`Room`) until it is again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ociserver.store.errors import is_full
from ociserver.store.modes import Modes

__all__ = ["SIZE", "SLICE", "Reserve"]

SIZE: Final = 4 * 1024 * 1024
"""Enough for the log of a thousand deletions, which collection turns into free files as it goes."""

SLICE: Final = 256 * 1024
"""What is given up at a time: the log of some fifty deletions. A request that takes room at that moment steals no more
than this."""

_NOT_SUPPORTED: Final = (errno.EOPNOTSUPP, errno.EINVAL)
"""Of a file system that cannot allocate, where the C library does not write instead."""


class Reserve:
    """The file. Processes need no lock: whoever loses a race finds the file smaller or larger, and looks again.

    Args:
        path: of the file.
        modes: of the file.
        size: that it has when it is whole, in bytes.
    """

    def __init__(self, path: Path, modes: Modes, size: int = SIZE) -> None:
        self._path = path
        self._modes = modes
        self.size = size

    def missing(self) -> int:
        """Bytes that it lacks; 0 if it is whole."""
        try:
            return max(self.size - os.stat(self._path).st_size, 0)
        except OSError:
            return self.size

    def give_slice(self) -> bool:
        """Give a slice up; False if there is none left."""
        with contextlib.suppress(OSError), self._opened(0) as fd:
            size = os.fstat(fd).st_size
            os.ftruncate(fd, max(size - SLICE, 0))
            return size > 0
        return False

    def refill(self, most: int) -> None:
        """Take back what is missing, a slice at a time.

        Args:
            most: bytes to take at most, of what is free.

        Raises:
            OSError: the file cannot be written, and not for want of room.
        """
        if most < SLICE or not self.missing():
            return
        with self._opened(os.O_CREAT) as fd:
            while most >= SLICE and (size := os.fstat(fd).st_size) < self.size:
                try:
                    _grow(fd, size, min(SLICE, self.size - size))
                except OSError as error:
                    # Some file systems keep the part that fitted.
                    os.ftruncate(fd, size)
                    if not is_full(error):
                        raise
                    return
                most -= SLICE

    @contextlib.contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | flags, self._modes.file)
        try:
            yield fd
        finally:
            os.close(fd)


def _grow(fd: int, size: int, count: int) -> None:
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, size, count)
            return
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    os.pwrite(fd, bytes(count), size)
