"""A bound on how often something is done in a second, by all who do it together."""

from __future__ import annotations

import asyncio

__all__ = ["Pace"]


class Pace:
    """Turns, at most `per_s` in a second, in the order in which they are asked for."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next one."""
        now = asyncio.get_running_loop().time()
        self._next = max(now, self._next + self._interval_s)
        # At most an interval late: a loop with much to do does not catch up.
        if self._next > now:
            await asyncio.sleep(self._next - now)
