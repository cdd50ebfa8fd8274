"""Waits of the event loop for threads of the core: for an `Appender` or a `BackgroundHasher`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

__all__ = ["Worker", "call_threadsafe", "wait_until_below", "wait_until_called"]


class Worker(Protocol):
    """Works through a backlog of bytes in its own threads."""

    def left(self) -> int:
        """Bytes in the backlog now."""

    def when_left(self, backlog: int, callback: Callable[[], object], /) -> None:
        """Call back once, in any thread, when no more than `backlog` bytes are left."""


async def wait_until_below(worker: Worker, backlog: int) -> None:
    """Wait until no more than `backlog` bytes are left to a worker."""
    if worker.left() > backlog:
        await wait_until_called(partial(worker.when_left, backlog))


async def wait_until_called(ask: Callable[[Callable[[], object]], object]) -> None:
    """Call `ask` with a callback, and wait until any thread calls this callback."""
    loop = asyncio.get_running_loop()
    called = loop.create_future()

    def tell() -> None:
        if not called.done():
            called.set_result(None)

    ask(lambda: call_threadsafe(loop, tell))
    await called


def call_threadsafe(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """`loop.call_soon_threadsafe`, which does nothing if the loop is closed, because nobody waits then."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
