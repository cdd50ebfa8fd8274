"""Finishes work even if its caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["finish"]

Result = TypeVar("Result")


async def finish(work: Awaitable[Result], undo: Callable[[Result], object] | None = None) -> Result:
    """Wait until the work has ended. If the caller is cancelled, the cancellation is raised after that.

    Args:
        work: a call in a thread, which cannot be stopped, or a coroutine, which must not be stopped.
        undo: undoes the work if the caller was cancelled, because then the caller never gets the result.
    """
    running = asyncio.ensure_future(work)

    def ended(done: asyncio.Future[Result]) -> None:
        # Also after a second cancellation, which ends the wait below.
        if not done.cancelled() and done.exception() is None and undo is not None:
            undo(done.result())

    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        running.add_done_callback(ended)
        await asyncio.wait([running])
        raise
