"""Bytes of a blob on their way to a client: with turns for others, and an end when the client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from ociserver.handler.body import ClientDisconnectedError

if TYPE_CHECKING:
    from ociserver.handler.call import Call

__all__ = ["WATCH_SIZE", "exactly", "watched", "write"]

WATCH_SIZE: Final = 1024 * 1024
"""Bytes of an answer up to which a client that goes away costs less than the task that would notice."""

TURN_SIZE: Final = 8 * 1024 * 1024
"""Bytes of an answer after which others get a turn of the event loop. What is in memory is read without waiting, and
often sent so too: without this nobody else might have a turn before the end, nor would it be seen that the client has
gone. 8 MiB take a few milliseconds; with a turn after every 2 MiB 8 downloads at once were slower by a twentieth."""


@asynccontextmanager
async def watched(call: Call) -> AsyncIterator[None]:
    """Notice when the client goes away.

    ASGI servers swallow what is sent to nobody, so without this a blob would be read to its end for a
    client that has long gone.
    """
    call.watch = asyncio.ensure_future(call.body.disconnected())
    try:
        yield
    finally:
        call.watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call.watch


async def write(call: Call, data: bytes, *, more: bool) -> None:
    """Send a piece of an answer.

    Raises:
        ClientDisconnectedError: more is to follow, and the client has gone.
    """
    await call.write(data, more=more)
    if more and call.watch is not None:
        if call.sent % TURN_SIZE < len(data):
            await asyncio.sleep(0)
        if call.watch.done():
            raise ClientDisconnectedError


async def exactly(pieces: AsyncIterator[bytes], size: int, digest: str) -> AsyncIterator[bytes]:
    """The pieces, of which there have to be `size` bytes.

    Raises:
        RuntimeError: there are fewer or more. The answer has promised its length: cut off it is never taken for whole.
    """
    left = size
    async for data in pieces:
        left -= len(data)
        if left < 0:
            break
        yield data
    if left != 0:
        raise RuntimeError(f"{digest}: the backend gave {size - left} of {size} bytes")
