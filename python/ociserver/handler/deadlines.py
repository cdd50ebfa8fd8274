"""Timeouts that hardly ever expire: one timer for all waits, instead of one for each."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from types import TracebackType
from typing import Final, Self

__all__ = ["Deadlines"]

RESOLUTION_S: Final = 0.001
"""The least seconds between two checks: timers of an event loop may fire this much too early (uvloop counts in
milliseconds)."""


class Deadlines:
    """The waits of a handler, and their deadlines.

    `asyncio.timeout` sets and cancels a timer for each wait, which was a sixth of the Python time of a small push. Here
    the event loop has one timer, for the earliest deadline at the time when it was set. Most of these waits have ended
    when it fires.
    """

    def __init__(self) -> None:
        self._waits: set[_Wait] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = math.inf

    def within(self, seconds: float) -> _Wait:
        """A block of the current task, which raises TimeoutError after this many seconds, like `asyncio.timeout`."""
        return _Wait(self, seconds)

    def add(self, wait: _Wait, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # The timer belongs to another event loop, which has ended: it never fires.
            self._loop, self._due = loop, math.inf
        wait.deadline = loop.time() + seconds
        self._waits.add(wait)
        if wait.deadline < self._due:
            self._look_at(loop, wait.deadline)

    def remove(self, wait: _Wait) -> None:
        self._waits.remove(wait)

    def _look_at(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        self._due = when
        # In an empty context. The context of the waiting task would keep its request alive as long as the timer, and
        # with it the server's side of the connection.
        loop.call_at(when, self._look, loop, when, context=Context())

    def _look(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._loop is not loop or self._due != when:
            return  # an earlier deadline was added meanwhile, and has its own timer
        now = loop.time()
        for wait in self._waits:
            if wait.deadline <= now and not wait.expired:
                wait.expire()
        self._due = math.inf
        left = [wait.deadline for wait in self._waits if not wait.expired]
        if left:
            self._look_at(loop, max(min(left), now + RESOLUTION_S))


class _Wait:
    __slots__ = ("_cancelling", "_deadlines", "_seconds", "_task", "deadline", "expired")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self.deadline = math.inf
        self.expired = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.add(self, self._seconds)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.remove(self)
        # Another cancellation of the task at the same time must still take effect.
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()
