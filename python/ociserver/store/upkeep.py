"""Keeps space free on the disk: work that frees space always succeeds, freed space returns to the disk, and the log
stays short.

On a full disk, deletions and collection continue with slices of the reserve. While the reserve is not complete, nothing
else may use space (`Room`), so freed space refills the reserve first. Requests that were admitted before may still use
a slice, but only for a limited time. Therefore work that frees space is retried.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from ociserver.errors import OCIError
from ociserver.store.errors import is_full
from ociserver.store.pages import PAGE_SIZE
from ociserver.store.room import MARGIN, Room, State
from ociserver.store.transaction import Metadata, Transaction

__all__ = ["Compacted", "Upkeep"]

_log = logging.getLogger("ociserver")

Result = TypeVar("Result")

TICK_S: Final = 1.0
"""Seconds between two checks of the log and the disk."""

PAUSES_S: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each retry of work that frees space. Together they are longer than a request uses space without
another check."""

MAX_LOG: Final = 20 * 1024 * 1024
"""Bytes of the log above which it is truncated. A log that is copied back in time has some 16 MiB."""

LOW: Final = 64 * 1024 * 1024
MAX_LOG_WHEN_LOW: Final = 1024 * 1024
"""The same limit while less than `LOW` bytes are free on the disk: a long log takes space, and a full disk may not have
the space to copy it back. While the disk has no space for pushes, a log of any length is truncated."""

MAX_EXCESS: Final = 1024 * 1024
"""Bytes by which the database file may be longer than its contents, before the log is truncated, which shortens it."""

SPARE_PAGES: Final = 1024
"""Free pages that stay in the database file for later pushes, 4 MiB: to remove pages costs more than to use them
again."""

STEP_PAGES: Final = 256
"""Pages that one transaction removes, in some 10 ms."""

STEP_PAGES_WHEN_FULL: Final = 16
"""The same on a full disk: what the transaction writes to the log fits into a slice of the reserve."""

CUT_TRIES: Final = 20
CUT_PAUSE_S: Final = 0.05
"""How often, and how many seconds apart, to try to truncate the log after pages were removed. Only then the file gets
shorter, and a reader may prevent it for a moment."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """The result of removing free pages from the database file, in bytes.

    Args:
        freed: bytes that the file system has again.
        pending: bytes that it gets when a long read of the database has ended.
    """

    freed: int = 0
    pending: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(self.freed + other.freed, self.pending + other.pending)


class Upkeep:
    """Keeps space free for one open store.

    Args:
        database: the database, whose files are kept small.
        room: the space on the disk.
    """

    def __init__(self, database: Metadata, room: Room) -> None:
        self._database = database
        self._room = room
        self._making_way = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the task that checks the log and the disk."""
        self._room.refill(MARGIN)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop the task."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def take(self, make: Callable[[], Transaction[Result]], *, durable: bool = True) -> Coroutine[Any, Any, Result]:
        """Run a transaction that needs space. Raises OCIError (507) while the disk is full.

        Args:
            make: makes the transaction, for each try.
            durable: see `Metadata.write`.
        """
        return self._database.write(make, durable=durable, check=self._room.check)

    async def free(self, make: Callable[[], Transaction[Result]], *, durable: bool = True) -> Result:
        """Run a transaction that frees space, now or at the next collection. On a full disk it uses the reserve.

        Args:
            make: makes the transaction, for each try.
            durable: see `Metadata.write`.
        """
        result = await self._free(lambda: self._database.write(make, durable=durable))
        await self.refill()
        return result

    async def refill(self) -> None:
        """Refill the reserve from the free space, including that of the log, before pushes may use it."""
        if self._room.is_complete():
            return
        await self._shrink_log()
        await asyncio.to_thread(self._room.refill)

    async def compact_when_full(self) -> Compacted:
        """`compact`, if there is no space for pushes at present, so that pushes can use what was freed so far."""
        if self._room.state() is State.AMPLE:
            return Compacted()
        compacted = await self.compact()
        await self.refill()
        return compacted

    async def compact(self) -> Compacted:
        """Remove free pages from the database file. A few stay in it, if the disk has enough space."""
        taken = 0
        with contextlib.suppress(OCIError):  # if there is no space even for this, the next collection continues
            while count := await self._most_to_take_out():
                await self._free(partial(self._database.take_out, count))
                taken += count
                if self._room.state() is not State.AMPLE:
                    # The space that this step has used in the log is returned before the next one.
                    await self._shrink_log()
                    await self.refill()
        if not taken:
            return Compacted()
        size = taken * PAGE_SIZE
        return Compacted(freed=size) if await self._cut_log() else Compacted(pending=size)

    async def _most_to_take_out(self) -> int:
        left = self._room.left()
        keep = SPARE_PAGES if left is None or left >= LOW else 0
        most = STEP_PAGES if self._room.state() is State.AMPLE else STEP_PAGES_WHEN_FULL
        return max(min(await self._database.count_free() - keep, most), 0)

    async def _free(self, work: Callable[[], Awaitable[Result]]) -> Result:
        pauses = iter(PAUSES_S)
        while True:
            try:
                return await work()
            except OCIError as error:
                pause = next(pauses, None)
                if not is_full(error) or pause is None:
                    raise
            await asyncio.sleep(pause)
            async with self._making_way:
                await self._shrink_log()
                await asyncio.to_thread(self._room.give_slice)

    async def _shrink_log(self) -> bool:
        """`Metadata.shrink_log`. On a full disk it uses the reserve: the log takes more space than copying it needs."""
        while True:
            try:
                return await self._database.shrink_log()
            except OCIError as error:
                if not is_full(error) or not self._room.is_enough_for_log() or not self._room.give_slice():
                    return False

    async def _cut_log(self) -> bool:
        for _ in range(CUT_TRIES):
            if await self._shrink_log():
                return True
            await asyncio.sleep(CUT_PAUSE_S)
        return False

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._look_after()
            except Exception:
                _log.exception("the check of the space on the store's disk failed; it runs again in a second")

    async def _look_after(self) -> None:
        state, left = self._room.state(), self._room.left()
        max_log = MAX_LOG if left is None or left >= LOW else MAX_LOG_WHEN_LOW
        is_long = self._database.log_size() > max_log or -self._database.owed() > MAX_EXCESS
        if is_long or (state is State.SHORT and self._database.log_size()):
            # The result does not matter: requests report what is wrong with the disk.
            await self._shrink_log()
        if state is not State.AMPLE:
            await asyncio.to_thread(self._room.refill)
