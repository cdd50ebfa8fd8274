"""Single flight: what many callers ask for at the same time is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Generic, TypeVar

__all__ = ["SingleFlight"]

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Work that is under way, by key. A caller that is cancelled stops neither the work nor the others who wait.

    Args:
        own_context: run the work in an empty context, so that it adds no warnings to the answer of the request that
            began it. False: the work runs in the context of the caller that began it.
    """

    def __init__(self, *, own_context: bool = False) -> None:
        self._own_context = own_context
        self._tasks: dict[Key, asyncio.Task[Result]] = {}

    async def do(self, key: Key, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Wait for the work of a key. It begins now unless it is under way."""
        return await asyncio.shield(self.start(key, make))

    def start(self, key: Key, make: Callable[[], Coroutine[Any, Any, Result]]) -> asyncio.Task[Result]:
        """The task of a key, begun now unless it is under way. The caller shields it where it waits for it."""
        task = self._tasks.get(key)
        if task is None:
            context = Context() if self._own_context else None
            task = asyncio.get_running_loop().create_task(make(), context=context)
            self._tasks[key] = task
            task.add_done_callback(lambda task: self._end(key, task))
        return task

    async def close(self) -> None:
        """Cancel everything that is under way, and wait until it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: Key, task: asyncio.Task[Result]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # every caller that waited for it may have gone
