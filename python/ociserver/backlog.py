"""GroupQueue for what works in threads without Python: an `Appender`, a `BackgroundHasher`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

__all__ = ["Worker", "have_called", "until_called", "until_left"]


class Worker(Protocol):
    """What has a backlog, in bytes."""

    def left(self) -> int:
        """How much there is now."""

    def when_left(self, backlog: int, callback: Callable[[], object], /) -> None:
        """Call back, in any thread, when no more than that is left."""


async def until_left(worker: Worker, backlog: int) -> None:
    """Wait until no more than `backlog` bytes are left."""
    if worker.left() > backlog:
        await until_called(partial(worker.when_left, backlog))


async def until_called(ask: Callable[[Callable[[], object]], object]) -> None:
    """Wait until what `ask` is given is called, in any thread."""
    loop = asyncio.get_running_loop()
    called = loop.create_future()

    def tell() -> None:
        if not called.done():
            called.set_result(None)

    ask(lambda: have_called(loop, tell))
    await called


def have_called(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Have the loop call, from any thread; nothing if it is closed, as nobody waits then."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
