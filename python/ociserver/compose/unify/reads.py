"""Reads the same content from several registries: one after the other, or concurrently."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ociserver.compose.unify.outcomes import most_telling

__all__ = ["Ask", "at_once", "in_turn"]

Result = TypeVar("Result")
Ask = Callable[[], Coroutine[Any, Any, Result]]


async def in_turn(asks: Sequence[Ask[Result]]) -> Result:
    """The first result. Asks a registry only if all before it failed."""
    errors: list[BaseException] = []
    for ask in asks:
        try:
            return await ask()
        except Exception as error:
            errors.append(error)
    raise most_telling(errors)


async def at_once(asks: Sequence[Ask[Result]]) -> Result:
    """The fastest result. Cancels the other calls, and closes their results if they arrive anyway."""
    tasks = [asyncio.ensure_future(ask()) for ask in asks]
    waiting = set(tasks)
    winner: asyncio.Future[Result] | None = None
    try:
        while waiting and winner is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in done if not task.cancelled() and task.exception() is None), None)
        if winner is None:
            raise most_telling([error for task in tasks if (error := task.exception())])
        return winner.result()
    finally:
        await _let_go([task for task in tasks if task is not winner])


async def _let_go(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if hasattr(outcome, "aclose"):
            await outcome.aclose()
