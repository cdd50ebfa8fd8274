"""A common bound on how often many tasks do something in a second."""

from __future__ import annotations

import asyncio

__all__ = ["Pace"]


class Pace:
    """Gives turns, at most `per_s` in a second, in the order of the calls."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = asyncio.get_running_loop().time()
        self._next = max(now, self._next + self._interval_s)
        # A busy event loop does not catch up: it loses the turns that it has missed.
        if self._next > now:
            await asyncio.sleep(self._next - now)
