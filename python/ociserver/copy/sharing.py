"""Work that is done once, and several works at once, of which the first failure counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from ociserver.single_flight import SingleFlight

__all__ = ["Once", "together"]


class Once:
    """Does the work of each name once. Work that fails is done again for the next caller."""

    def __init__(self) -> None:
        self._flights: SingleFlight[str, None] = SingleFlight()
        # Of what is done only the name is kept: a repository has as many as it has contents.
        self._done: set[str] = set()

    async def do(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until the work of this name is done. A caller that is cancelled does not stop it."""
        if name not in self._done:
            await self._flights.do(name, lambda: self._run(name, work))

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._flights.close()

    async def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await work()
        self._done.add(name)


async def together(works: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Do all at once. The first failure ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
