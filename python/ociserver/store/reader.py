"""Reads a blob from its file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from ociserver._core import read_at, read_cached
from ociserver.interface import Descriptor, File
from ociserver.store.directory import Directory

__all__ = ["FileReader"]

READ_SIZE: Final = 256 * 1024
"""Bytes of one read. The reason for this size is in `BlobReader.__aiter__`."""

READ_SIZE_OF_FEW: Final = 512 * 1024
"""Bytes of one read while few files are open. Each piece wakes three threads: with this size, 8 concurrent downloads
reached 3.2 GB/s instead of 2.7, and for a few downloads twice the memory does not matter."""

FEW: Final = 8
"""The most files, being read or written, that count as few. With more of them, small requests wait longer than they
take: the server's thread sends up to five pieces of each download before it turns to the next connection."""


class FileReader:
    """An open file. It can be read to its end even if it is deleted meanwhile."""

    def __init__(self, directory: Directory, descriptor: Descriptor, fd: int, start: int, stop: int) -> None:
        self.descriptor = descriptor
        self.range = (start, stop)
        self._directory = directory
        self._fd = fd
        self._under_way: asyncio.Future[bytes] | None = None
        directory.readers += 1

    @property
    def location(self) -> File:
        """The open file, for a server that can send a file itself."""
        start, stop = self.range
        return File(self._fd, start, stop - start)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.part(*self.range)

    async def part(self, position: int, stop: int) -> AsyncIterator[bytes]:
        """Any part of the blob. Parts are read one after another."""
        # What the page cache has is read here: a thread would cost as much as reading and sending it.
        while position < stop and (data := self._read_cached(position, stop)) is not None:
            if not data:
                return  # truncated meanwhile; the caller checks the length
            position += len(data)
            yield data
        # The rest comes from the disk, in a thread. The system reads ahead.
        while position < stop:
            self._under_way = self._read(position, stop)
            # Shielded: a cancelled request cannot stop the thread, and `aclose` has to wait for it.
            data = await asyncio.shield(self._under_way)
            if not data:
                return
            position += len(data)
            yield data

    async def aclose(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self._directory.readers -= 1
        if self._under_way is None or self._under_way.done():
            os.close(fd)
        else:
            # A thread may still read from it.
            self._under_way.add_done_callback(lambda read: _close(fd, read))

    def _read_cached(self, position: int, stop: int) -> bytes | None:
        return read_cached(self._fd, position, self._size(position, stop))

    def _read(self, position: int, stop: int) -> asyncio.Future[bytes]:
        fd, size = self._fd, self._size(position, stop)
        return self._directory.read(lambda: read_at(fd, position, size))

    def _size(self, position: int, stop: int) -> int:
        transfers = self._directory.readers + self._directory.writers
        size = READ_SIZE_OF_FEW if transfers <= FEW else READ_SIZE
        return min(size, stop - position)


def _close(fd: int, read: asyncio.Future[bytes]) -> None:
    os.close(fd)
    if not read.cancelled():
        read.exception()  # retrieved, so that asyncio does not log it
