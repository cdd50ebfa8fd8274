"""What copies share: work done once for several callers, works that run at the same time, and where blobs are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeVar

from ociserver.lru import LRU
from ociserver.single_flight import SingleFlight

__all__ = ["Once", "Shared", "each", "together"]

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_HOMES: Final = 100_000
"""Blobs of which a repository is remembered, some 0.3 KiB each."""


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


class Shared:
    """What the copies to one registry share.

    Args:
        jobs: maximum number of concurrent transfers.
        max_homes: blobs of which a repository is remembered.
    """

    def __init__(self, jobs: int, max_homes: int = MAX_HOMES) -> None:
        self.slots = asyncio.Semaphore(jobs)
        self.homes: LRU[str, str] = LRU(max_homes)
        """A repository of the destination that has a blob, from which others can mount it."""


async def together(works: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Run all works concurrently. The first failure cancels the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def each(
    items: AsyncIterator[Item], work: Callable[[Item], Awaitable[Result]], count: int
) -> AsyncGenerator[Result, None]:
    """The result of the work on each item, in the order in which the works end.

    The first failure of a work, or of the list of items, cancels the other works, and is raised.

    Args:
        items: is read as results are taken.
        work: runs for several items at the same time.
        count: maximum number of works that run.
    """
    results: asyncio.Queue[tuple[Result] | None] = asyncio.Queue(count)
    turn = asyncio.Lock()

    async def work_on() -> None:
        while True:
            async with turn:
                # In a tuple, as an item may be anything.
                item = await anext(wrapped, None)
            if item is None:
                return
            await results.put((await work(item[0]),))

    async def run() -> None:
        try:
            await together(work_on() for _ in range(count))
        except Exception:
            await results.put(None)
            raise
        # Not if this is cancelled: then the caller has left, and a full queue would never have room.
        await results.put(None)

    wrapped = ((item,) async for item in items)
    running = asyncio.ensure_future(run())
    try:
        while (result := await results.get()) is not None:
            yield result[0]
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
