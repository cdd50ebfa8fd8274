"""Bounds on waits that hardly ever reach them: one timer for all, and not one for each."""

from __future__ import annotations

import asyncio
import math
from contextvars import Context
from types import TracebackType
from typing import Final, Self

__all__ = ["Deadlines"]

RESOLUTION_S: Final = 0.001
"""Between two looks, of a loop whose timers may come that much too early (uvloop's are of milliseconds)."""


class Deadlines:
    """What waits just now, and until when.

    `asyncio.timeout` gives the loop a timer for each wait and takes it back, which was a sixth of all Python of a small
    push. Here the loop has one, for the first deadline of those who waited when it was set: most have long gone then.
    """

    def __init__(self) -> None:
        self._waits: set[_Wait] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = math.inf

    def within(self, seconds: float) -> _Wait:
        """A block of the current task that is broken off with TimeoutError after so long, as by `asyncio.timeout`."""
        return _Wait(self, seconds)

    def add(self, wait: _Wait, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Of another loop, which has ended, no timer fires any more.
            self._loop, self._due = loop, math.inf
        wait.deadline = loop.time() + seconds
        self._waits.add(wait)
        if wait.deadline < self._due:
            self._look_at(loop, wait.deadline)

    def remove(self, wait: _Wait) -> None:
        self._waits.remove(wait)

    def _look_at(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        self._due = when
        # In an empty context. The waiting task's own would keep the request alive as long as the timer, and with it
        # the server's side of the connection.
        loop.call_at(when, self._look, loop, when, context=Context())

    def _look(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        if self._loop is not loop or self._due != when:
            return  # an earlier deadline has come meanwhile, whose timer took over
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
        # A cancellation by somebody else at the same time must still take effect.
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        self.expired = True
        self._task.cancel()
