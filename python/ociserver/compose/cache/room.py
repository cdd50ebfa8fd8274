"""Bounds the temporary files of downloads."""

from __future__ import annotations

import asyncio

from ociserver.errors import HTTPError

__all__ = ["Room", "Share"]


class Room:
    """Bytes that the temporary files of this process may take together.

    Args:
        max_bytes: the bound. A file that is larger gets room when there is no other file.
        wait_s: seconds that a download waits for room.
    """

    def __init__(self, max_bytes: int, wait_s: float) -> None:
        self._max = max_bytes
        self._wait_s = wait_s
        self._freed = asyncio.Event()
        self.taken = 0

    async def take(self, size: int) -> Share:
        """Wait for room for a file of this size.

        Raises:
            HTTPError: 503 if other downloads have left no room in time.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                while self.taken and self.taken + size > self._max:
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            text = "the temporary files of other downloads take all the room that they may"
            raise HTTPError(503, text, headers={"Retry-After": "5"}) from None
        self.taken += size
        return Share(self, size)

    def give_back(self, size: int) -> None:
        """For `Share`."""
        self.taken -= size
        self._freed.set()


class Share:
    """The room of one file."""

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._size = size

    def free(self) -> None:
        """Give the room back: the file is deleted, and nobody has it open. A second call does nothing."""
        size, self._size = self._size, 0
        self._room.give_back(size)
