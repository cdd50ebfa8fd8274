"""Single flight: what many ask for at once is done once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any

__all__ = ["SingleFlight"]


class SingleFlight:
    """Work that is under way, by key. A request that goes away stops neither what others wait for nor what it began."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def start(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """The work of this key, begun if there is none. Wait for it shielded."""
        task = self._tasks.get(key)
        if task is None:
            # In a context of its own: it belongs to no request, and must not add warnings to the first one's answer.
            task = asyncio.get_running_loop().create_task(make(), context=Context())
            self._tasks[key] = task
            task.add_done_callback(lambda task: self._end(key, task))
        return task

    async def close(self) -> None:
        """Cancel all of it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: Hashable, task: asyncio.Task[None]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # a caller that waits has it; there may be none
