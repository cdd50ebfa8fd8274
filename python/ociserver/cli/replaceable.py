"""What is served, in a form that can be replaced while it is being served."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from ociserver.handler import Handler
from ociserver.interface import Backend, Deleter, Lister, Reader, Writer
from ociserver.types import Receive, Scope, Send

__all__ = ["Kept", "Replaceable", "UnderWay"]

_log = logging.getLogger("ociserver.serve")

UnderWay = Callable[[], Collection[asyncio.Task[Any]]]
"""The requests that are being served."""

_METHODS: Final = [name for part in (Reader, Writer, Deleter, Lister) for name in vars(part) if name[0] != "_"]


class Kept(Backend):
    """A store that stays open when what stands in front of it is closed: whoever made it opens and closes it."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        # The store's own methods, so that no request pays for this.
        for name in _METHODS:
            setattr(self, name, getattr(inner, name))


class Replaceable:
    """An application, in front of stores that stay.

    A request that has begun ends with the handler with which it began, which is closed after the last of them.

    Args:
        handler: what serves first; not yet open.
        stores: opened before it, and closed after everything.
    """

    def __init__(self, handler: Handler, stores: Sequence[Backend]) -> None:
        self._handler = handler
        self._stores = stores
        self._stack = AsyncExitStack()
        self._retiring: dict[asyncio.Task[None], Handler] = {}
        self._opened = asyncio.Event()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if not self._opened.is_set():
            return self._when_open(scope, receive, send)
        # No coroutine of its own, and nothing is counted: see `replace`.
        return self._handler(scope, receive, send)

    async def _when_open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request that is there before the stores are: the handler would open itself in front of closed ones."""
        await self._opened.wait()
        await self._handler(scope, receive, send)

    def answer_nowait(self, scope: Scope, send: Send) -> bool:
        """`Handler.answer_nowait`, of the handler that serves now."""
        return self._handler.answer_nowait(scope, send)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for store in self._stores:
                await stack.enter_async_context(store)
            await self._handler.__aenter__()
            self._stack = stack.pop_all()
        self._opened.set()
        return self

    async def replace(self, handler: Handler, under_way: UnderWay) -> None:
        """Serve new requests with another handler.

        Args:
            handler: not yet open. If it does not open, everything stays as it is.
            under_way: tells which requests there are, of whichever handler.
        """
        await handler.__aenter__()
        old, self._handler = self._handler, handler
        # From here on none begins with the old one; the others are among these.
        retiring = asyncio.create_task(_retire(old, under_way()))
        self._retiring[retiring] = old
        retiring.add_done_callback(lambda task: self._retiring.pop(task, None))

    async def aclose(self) -> None:
        """Close everything; requests have ended, or are not waited for any more."""
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        async with self._stack:
            for task, handler in retiring.items():
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                await handler.aclose()
            await self._handler.aclose()


async def _retire(handler: Handler, requests: Collection[asyncio.Task[Any]]) -> None:
    if requests:
        await asyncio.wait(requests)
    try:
        await handler.aclose()
    except Exception:
        _log.exception("what was served before did not close")
