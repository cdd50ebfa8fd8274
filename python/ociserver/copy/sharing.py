"""Work that is done once for several callers, and concurrent works of which the first failure counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ociserver.single_flight import SingleFlight

__all__ = ["Once", "together"]


class Once:
    """Does the work of each name once. If it fails, the next caller tries again."""

    def __init__(self) -> None:
        self._flights: SingleFlight[str, None] = SingleFlight()
        # Finished work leaves only its name: a repository has as many names as contents.
        self._done: set[str] = set()

    async def do(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until the work of this name is done. The work continues if a caller is cancelled."""
        if name not in self._done:
            await self._flights.do(name, lambda: self._run(name, work))

    async def close(self) -> None:
        """Cancel all work in progress."""
        await self._flights.close()

    async def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await work()
        self._done.add(name)


async def together(works: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Run all works concurrently. The first failure cancels the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
