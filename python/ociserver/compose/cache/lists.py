"""Lists of tags and referrers: from upstream, or of the kept contents while upstream does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from ociserver.compose.cache.health import Health, briefly, is_down, warn
from ociserver.compose.cache.routing import Route
from ociserver.errors import OCIError
from ociserver.interface import Backend
from ociserver.iterators import closing

__all__ = ["Ask", "Lists"]

Item = TypeVar("Item")

Ask = Callable[[Backend, str], AsyncIterator[Item]]
"""Requests a list of a repository from a backend, by the repository's name in that backend."""


class Lists:
    """Decides which registry answers a list.

    Args:
        local: the registry that keeps the contents.
        timeout: seconds that upstream has for the first entry if there is another answer.
    """

    def __init__(self, local: Backend, timeout: float) -> None:
        self._local = local
        self._timeout = timeout

    async def upstreams(self, route: Route, ask: Ask[Item], *, is_known: bool) -> AsyncIterator[Item]:
        """The list from upstream; while upstream fails, the part of it that is kept here, with a warning."""
        upstream = route.upstream
        assert upstream
        health = upstream.health
        why = health.why_not(route.name, lists=True) if is_known else None
        if why is None:
            try:
                async with closing(upstream.listed(route.name, ask(upstream.backend, route.name))) as items:
                    first = await self._first(items, health, is_known=is_known)
                    # Raise a later error: the list so far would look complete.
                    for item in first:
                        yield item
                    async for item in items:
                        yield item
                    return
            except _NotBegunError as error:
                cause = error.error
                if isinstance(cause, OCIError) and cause.code == "NAME_UNKNOWN" and not is_known:
                    why = ""
                elif is_known and isinstance(cause, _SlowError):
                    why = health.list_was_slow()
                elif is_known and is_down(cause):
                    why = health.failed(route.name, cause)
                else:
                    raise cause from None
        if why:
            warn(f"{why}: this is the part of the list that is kept here")
        async with closing(self.locals(route, ask)) as kept:
            async for item in kept:
                yield item

    def locals(self, route: Route, ask: Ask[Item]) -> AsyncIterator[Item]:
        """The list of the local registry."""
        return ask(self._local, route.repository)

    async def _first(self, items: AsyncIterator[Item], health: Health, *, is_known: bool) -> list[Item]:
        """Wait for the first entry from upstream; empty if there is none."""
        try:
            if not is_known:
                return [await anext(items)]
            with health.lists.probing(), briefly():
                try:
                    async with asyncio.timeout(self._timeout) as limit:
                        return [await anext(items)]
                except TimeoutError:
                    if limit.expired():
                        raise _SlowError from None
                    raise
        except StopAsyncIteration:
            return []
        except Exception as error:
            raise _NotBegunError(error) from None


class _SlowError(Exception):
    """Upstream gave no entry in time."""


class _NotBegunError(Exception):
    """Upstream failed before the first entry."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error
