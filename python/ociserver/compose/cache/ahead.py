"""Receiving ahead of whoever writes: what has come meanwhile is written at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

__all__ = ["ahead"]

MOST: Final = 1024 * 1024
"""Bytes that may wait to be written: a few round trips to the disk's threads, and little memory for each fill."""


async def ahead(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in fewer pieces: what came while the last one was consumed is joined, and nothing waits."""
    waiting: list[bytes] = []
    came, room = asyncio.Event(), asyncio.Event()

    async def receive() -> None:
        size = 0
        try:
            async for piece in pieces:
                waiting.append(piece)
                came.set()
                size = sum(map(len, waiting))
                if size >= MOST:
                    room.clear()
                    await room.wait()
        finally:
            came.set()

    receiving = asyncio.ensure_future(receive())
    try:
        while True:
            await came.wait()
            ended = receiving.done()
            came.clear()
            taken = waiting[:]
            waiting.clear()
            room.set()
            if taken:
                yield taken[0] if len(taken) == 1 else b"".join(taken)
            elif ended:
                break
            if receiving.done():
                came.set()
        await receiving
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
