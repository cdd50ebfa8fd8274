"""A backend behind a connection: client, HTTP, server, handler, backend."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from ociserver import Backend, Handler, Options
from ociserver.client import Client
from ociserver.compose.wrapper import DeleterOf, ListerOf, ReaderOf, Wrapper, WriterOf
from tests.serving.uvicorn_here import serve_here

__all__ = ["Remote"]


class Remote(ReaderOf, WriterOf, DeleterOf, ListerOf, Wrapper):
    """While open, it serves a backend and is a client of that server."""

    def __init__(self, backend: Backend, options: Options | None = None, **settings: Any) -> None:
        super().__init__(backend)
        self.served = backend
        self._options = options
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # The handler opens and closes the backend, as in production.
        site = await self._stack.enter_async_context(serve_here(Handler(self.served, self._options)))
        self.inner = await self._stack.enter_async_context(Client(site.url, **self._settings))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()
