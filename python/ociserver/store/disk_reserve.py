"""Space on the disk that is reserved for deletions: a deletion also writes, which would fail on a full disk.

The reserve is a file. Its size is the only state of the disk that the processes of a store share. The reserve is
complete when the file has its full size. On a full disk, deletions and collection may give up slices of it. Then it is
not complete, and nothing else may use space (`Room`) until it is complete again.
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
"""Bytes: enough for the log of a thousand deletions. Meanwhile collection deletes files and so frees space."""

SLICE: Final = 256 * 1024
"""Bytes to give up at a time: the log of some fifty deletions. Another request that uses space at that moment can take
no more than this."""

_NOT_SUPPORTED: Final = (errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of a file system that cannot allocate space, if the C library does not write zeros instead."""


class Reserve:
    """The file of the reserve. Processes need no lock: after a race, the file is smaller or larger than expected.

    Args:
        path: of the file.
        modes: permissions of the file.
        size: bytes of the complete reserve.
    """

    def __init__(self, path: Path, modes: Modes, size: int = SIZE) -> None:
        self._path = path
        self._modes = modes
        self.size = size

    def missing(self) -> int:
        """Bytes that the reserve lacks; 0 if it is complete."""
        try:
            return max(self.size - os.stat(self._path).st_size, 0)
        except OSError:
            return self.size

    def give_slice(self) -> bool:
        """Give up a slice. False if nothing is left."""
        with contextlib.suppress(OSError), self._opened(0) as fd:
            size = os.fstat(fd).st_size
            os.ftruncate(fd, max(size - SLICE, 0))
            return size > 0
        return False

    def refill(self, most: int) -> None:
        """Allocate what is missing, slice by slice.

        Args:
            most: the most bytes to allocate.

        Raises:
            OSError: the file cannot be written, for another reason than a full disk.
        """
        if most < SLICE or not self.missing():
            return
        with self._opened(os.O_CREAT) as fd:
            while most >= SLICE and (size := os.fstat(fd).st_size) < self.size:
                try:
                    _grow(fd, size, min(SLICE, self.size - size))
                except OSError as error:
                    # Some file systems keep the part that did fit.
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
