"""Single flight: work that many callers request at the same time runs once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, Generic, TypeVar

from ociserver.context import trace_headers

__all__ = ["SingleFlight"]

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


class SingleFlight(Generic[Key, Result]):
    """Running work, by key. The cancellation of a caller affects neither the work nor the other callers.

    Args:
        own_context: run the work in an empty context, so that it adds no warnings to the answer of the request that
            started it. False: the work runs in the context of the caller that started it.
    """

    def __init__(self, *, own_context: bool = False) -> None:
        self._own_context = own_context
        self._tasks: dict[Key, asyncio.Task[Result]] = {}

    async def do(self, key: Key, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Wait for the work of a key, and start it unless it is running."""
        return await asyncio.shield(self.start(key, make))

    def start(self, key: Key, make: Callable[[], Coroutine[Any, Any, Result]]) -> asyncio.Task[Result]:
        """The task of a key, which is started unless it is running. A caller that waits for it has to shield it."""
        task = self._tasks.get(key)
        if task is None:
            context = _own_context() if self._own_context else None
            task = asyncio.get_running_loop().create_task(make(), context=context)
            self._tasks[key] = task
            task.add_done_callback(lambda task: self._end(key, task))
        return task

    def is_running(self, key: Key) -> bool:
        """Whether the work of a key is running."""
        return key in self._tasks

    async def close(self) -> None:
        """Cancel all running work, and wait until it has ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: Key, task: asyncio.Task[Result]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # retrieved, because every caller that waited may have been cancelled


def _own_context() -> Context:
    context = Context()
    # The work is in the trace of the request that started it.
    context.run(trace_headers.set, trace_headers.get())
    return context
