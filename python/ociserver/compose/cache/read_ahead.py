"""Receives ahead of the writer. Bytes are readable as soon as they arrive, and are written in few large pieces."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

__all__ = ["ReadAhead"]

MOST: Final = 1024 * 1024
"""Bytes that may wait to be written. This is enough for a few writes of the disk threads, and little memory for each
download. At most the same number of bytes is being written in the meantime."""


class ReadAhead:
    """The bytes of a blob that have arrived and are not in the file yet. Receives within `async with`.

    Args:
        pieces: of the blob.
        came: called with the total number of bytes, before a new piece becomes readable.
    """

    def __init__(self, pieces: AsyncIterator[bytes], came: Callable[[int], None]) -> None:
        self._pieces = pieces
        self._came = came
        self._receiving: asyncio.Future[None]
        self._held: deque[bytes] = deque()
        self._start = 0
        self._taken = 0
        self._change = asyncio.Event()
        self._room = asyncio.Event()
        self.size = 0
        """Total number of bytes that have arrived."""

    async def __aenter__(self) -> Self:
        self._receiving = asyncio.ensure_future(self._receive())
        self._receiving.add_done_callback(lambda _: self._change.set())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes that arrived during the last write, joined. They stay readable until `drop`."""
        while True:
            self._change.clear()
            if self._taken < self.size:
                yield self._take()
            elif self._receiving.done():
                break
            else:
                await self._change.wait()
        await self._receiving

    async def begun(self) -> None:
        """Wait for the first piece or the end."""
        while self.size == 0 and not self._receiving.done():
            self._change.clear()
            await self._change.wait()

    def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes from `at` on; empty if they are not in memory."""
        start = self._start
        for piece in self._held:
            if start <= at < start + len(piece):
                begin = at - start
                return piece if begin == 0 and len(piece) <= size else piece[begin : begin + size]
            start += len(piece)
        return b""

    def drop(self, to: int) -> None:
        """Drop the bytes before this offset: they are readable from the file."""
        while self._held and self._start + len(self._held[0]) <= to:
            self._start += len(self._held.popleft())

    async def _receive(self) -> None:
        async for piece in self._pieces:
            self._came(self.size + len(piece))
            self._held.append(piece)
            self.size += len(piece)
            self._change.set()
            # Let the readers that wait for this piece run first. More pieces may be here already.
            await asyncio.sleep(0)
            while self.size - self._taken >= MOST:
                self._room.clear()
                await self._room.wait()

    def _take(self) -> bytes:
        taken, at = [], self._start
        for piece in self._held:
            if at >= self._taken:
                taken.append(piece)
            at += len(piece)
        self._taken = at
        self._room.set()
        return taken[0] if len(taken) == 1 else b"".join(taken)
