"""An application whose handler can be replaced while it serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from ociserver.handler import Handler
from ociserver.interface import Backend, Deleter, Lister, Reader, Writer
from ociserver.store import Store
from ociserver.store.api_keys import ApiKeys
from ociserver.types import Receive, Scope, Send

__all__ = ["Kept", "Replaceable", "UnderWay", "api_keys_of"]

_log = logging.getLogger("ociserver.serve")

UnderWay = Callable[[], Collection[asyncio.Task[Any]]]
"""Returns the tasks of the requests that are being served."""

_METHODS: Final = [name for part in (Reader, Writer, Deleter, Lister) for name in vars(part) if name[0] != "_"]


def api_keys_of(backend: Backend) -> ApiKeys | None:
    """The API keys of a store; None if it keeps none."""
    return backend.api_keys if isinstance(backend, (Store, Kept)) else None


class Kept(Backend):
    """A store that stays open when a backend in front of it is closed. Its owner opens and closes it.

    Args:
        inner: the store.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        # The store's own bound methods, so that requests do not pass through this object.
        for name in _METHODS:
            setattr(self, name, getattr(inner, name))
        self.api_keys = api_keys_of(inner)


class Replaceable:
    """An application with a handler that can be replaced, in front of stores that stay open.

    Each request ends with the handler with which it began. A replaced handler is closed after its last request.

    Args:
        handler: the first handler, not yet open.
        stores: opened before the first handler, and closed after the last.
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
        # Neither a further coroutine nor a count of requests: `replace` asks for their tasks.
        return self._handler(scope, receive, send)

    async def _when_open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that came before the stores were open: the handler must not open before them."""
        await self._opened.wait()
        await self._handler(scope, receive, send)

    def answer_nowait(self, scope: Scope, send: Send) -> bool:
        """`Handler.answer_nowait` of the current handler."""
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
            handler: not yet open. If it does not open, the current handler stays.
            under_way: returns the tasks of all requests, of any handler.
        """
        await handler.__aenter__()
        old, self._handler = self._handler, handler
        # No request begins with the old handler from here on; those that did are among `under_way()`.
        retiring = asyncio.create_task(_retire(old, under_way()))
        self._retiring[retiring] = old
        retiring.add_done_callback(lambda task: self._retiring.pop(task, None))

    async def aclose(self) -> None:
        """Close the handlers and the stores. Requests that have not ended are no longer waited for."""
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
        _log.exception("the registry that was served before the reload could not be closed")
