"""Waits for the pieces of objects.

The threads that receive them wake the event loop over a socket. They need not take turns with it, as threads that call
Python do, and nobody else has to wake for a piece.
"""

from __future__ import annotations

import asyncio

from ociserver_objects import Bucket, Reading

__all__ = ["Arrivals"]


class Arrivals:
    """Waits for the pieces of the objects of a bucket.

    Args:
        bucket: has the objects.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._waiting = 0

    async def next(self, reading: Reading) -> bytes:
        """The next piece; b"" at the end.

        Raises:
            ObjectError: as `Reading.take`.
        """
        loop = asyncio.get_running_loop()
        while True:
            arrived = loop.create_future()
            if (piece := reading.take(arrived)) is not None:
                return piece
            await self._wait(arrived, loop)

    async def _wait(self, arrived: asyncio.Future[None], loop: asyncio.AbstractEventLoop) -> None:
        # Only while somebody waits, so that the loop keeps no bucket that was closed.
        if self._waiting == 0:
            loop.add_reader(self._bucket, self._tell)
        self._waiting += 1
        try:
            await arrived
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                loop.remove_reader(self._bucket)

    def _tell(self) -> None:
        for arrived in self._bucket.arrived():
            if not arrived.done():
                arrived.set_result(None)
