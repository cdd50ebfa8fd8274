"""Work that many wait for and that is done once; and many works at once, of which the first failure counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

__all__ = ["Once", "together"]


class Once:
    """Does the work of each name once. One that fails is done again for whoever asks later."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}
        # Of what is done only the name is kept: a repository has as many as it has contents.
        self._done: set[str] = set()

    async def do(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until the work of this name is done; one who gives up waiting breaks it off for nobody else."""
        if name in self._done:
            return
        task = self._running.get(name)
        if task is None:
            task = self._running[name] = asyncio.ensure_future(self._run(name, work))
        await asyncio.shield(task)

    async def _run(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
            self._done.add(name)
        finally:
            del self._running[name]

    async def cancel(self) -> None:
        """Break off what is under way."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def together(works: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Do all at once. The first failure ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
