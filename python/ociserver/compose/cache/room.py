"""Bounds the temporary files of downloads."""

from __future__ import annotations

import asyncio

from ociserver.compose.cache.limits import FREE_SIZE, RESERVED_PART
from ociserver.errors import HTTPError

__all__ = ["Room", "Share"]


class Room:
    """Bytes that the temporary files of this process may take together. Downloads get room in the order of their calls.

    A large file counts as `max_bytes` less a reserve, so that there is always room for others beside it. Two such files
    exclude each other. So the files take at most `max_bytes`, or one large file and the reserve, and the small files,
    which do not count.

    Args:
        max_bytes: the bound.
        wait_s: seconds that a download waits for room.
    """

    def __init__(self, max_bytes: int, wait_s: float) -> None:
        self._free = max(1, max_bytes)
        self._most = self._free - self._free // RESERVED_PART
        self._wait_s = wait_s
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    async def take(self, size: int) -> Share:
        """Wait for room for a file of this size.

        Raises:
            HTTPError: 503 if other downloads have left no room in time.
        """
        if size <= FREE_SIZE:
            return Share(self, 0)
        count = min(size, self._most)
        try:
            # The lock is the queue: asyncio gives it to the caller that has waited longest.
            async with asyncio.timeout(self._wait_s), self._turn:
                while self._free < count:
                    self._freed.clear()
                    await self._freed.wait()
                self._free -= count
        except TimeoutError:
            text = "the temporary files of other downloads take all the room that they may"
            raise HTTPError(503, text, headers={"Retry-After": "5"}) from None
        return Share(self, count)

    def give_back(self, count: int) -> None:
        """For `Share`."""
        self._free += count
        self._freed.set()


class Share:
    """The room of one file."""

    def __init__(self, room: Room, count: int) -> None:
        self._room = room
        self._count = count

    def free(self) -> None:
        """Give the room back: the file is deleted, and nobody has it open. A second call does nothing."""
        count, self._count = self._count, 0
        self._room.give_back(count)
