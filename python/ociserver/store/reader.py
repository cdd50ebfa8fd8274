"""Reading a blob: from the database's row, or from its file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final

from ociserver._core import read_at, read_cached
from ociserver.interface import Descriptor, File
from ociserver.store.directory import Directory

__all__ = ["FileReader", "InlineReader"]

READ_SIZE: Final = 256 * 1024
"""Bytes read at a time; why this size: `BlobReader.__aiter__`."""

READ_SIZE_OF_FEW: Final = 512 * 1024
"""Likewise while few are reading. Each piece wakes three threads: so 8 downloads at once came at 3.2 GB/s and not at
2.7, and for a few twice the memory is no matter."""

FEW: Final = 8
"""Files being read."""


class InlineReader:
    """A small blob, or a part of it, that is in memory already."""

    def __init__(self, descriptor: Descriptor, content: bytes, start: int, stop: int) -> None:
        self.descriptor = descriptor
        self.range = (start, stop)
        self.location = content if stop - start == len(content) else content[start:stop]
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.location:
            yield self.location

    async def part(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Any part of the blob."""
        yield self._content[start:stop]

    async def aclose(self) -> None:
        """Nothing is held."""


class FileReader:
    """An open file; deleting it meanwhile disturbs nobody who reads it."""

    def __init__(self, directory: Directory, descriptor: Descriptor, fd: int, start: int, stop: int) -> None:
        self.descriptor = descriptor
        self.range = (start, stop)
        self._directory = directory
        self._fd = fd
        self._ahead: asyncio.Future[bytes] | None = None
        directory.readers += 1

    @property
    def location(self) -> File:
        """The open file, for a server that can send it by itself."""
        start, stop = self.range
        return File(self._fd, start, stop - start)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.part(*self.range)

    async def part(self, position: int, stop: int) -> AsyncIterator[bytes]:
        """Any part of the blob, one after another."""
        # What is in memory is read here: a thread to read it would cost as much again as reading and sending it.
        while position < stop and (data := self._read_cached(position, stop)) is not None:
            if not data:
                return  # truncated meanwhile; whoever sends it sees that it is too short
            position += len(data)
            yield data
        # The rest comes from the disk, one piece ahead of the one that is being sent.
        if self._ahead is not None:
            # Of a part that was left before its end.
            await asyncio.wait([self._ahead])
            self._ahead = None
        while position < stop:
            if self._ahead is None:
                self._ahead = self._read(position, stop)
            # Shielded: a thread cannot be stopped when its request is, and `aclose` has to know of it.
            data = await asyncio.shield(self._ahead)
            self._ahead = None
            if not data:
                return
            position += len(data)
            if position < stop:
                self._ahead = self._read(position, stop)
            yield data

    async def aclose(self) -> None:
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self._directory.readers -= 1
        if self._ahead is None:
            os.close(fd)
        else:
            # A thread may still read from it.
            self._ahead.add_done_callback(lambda ahead: _close(fd, ahead))

    def _read_cached(self, position: int, stop: int) -> bytes | None:
        return read_cached(self._fd, position, self._size(position, stop))

    def _read(self, position: int, stop: int) -> asyncio.Future[bytes]:
        fd, size = self._fd, self._size(position, stop)
        return self._directory.read(lambda: read_at(fd, position, size))

    def _size(self, position: int, stop: int) -> int:
        size = READ_SIZE_OF_FEW if self._directory.readers <= FEW else READ_SIZE
        return min(size, stop - position)


def _close(fd: int, ahead: asyncio.Future[bytes]) -> None:
    os.close(fd)
    if not ahead.cancelled():
        ahead.exception()  # nobody else will look at it
