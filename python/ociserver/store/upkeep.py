"""Keeping room on the disk: what frees it always works, what is freed is really free, and logs do not stay long.

On a full disk deletions and collection go on from the reserve, in slices. While it is not whole nothing else may take
room (`Room`), so that what is freed refills it first; requests that had been let pass before may still steal a slice,
but not the next ones for ever: hence the retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from ociserver.errors import OCIError
from ociserver.store import pages
from ociserver.store.errors import is_full
from ociserver.store.pages import PAGE_SIZE
from ociserver.store.room import MARGIN, Room, State
from ociserver.store.work import Database, Work

__all__ = ["Compacted", "Upkeep"]

_log = logging.getLogger("ociserver")

Result = TypeVar("Result")

TICK_S: Final = 1.0
"""How often it is looked whether the log has grown, or the disk has become full."""

PAUSES_S: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Before each further try of what frees. In sum longer than a request goes on taking room without asking again."""

MAX_LOG: Final = 20 * 1024 * 1024
"""Bytes of the log above which it is cut: it has some 16 MiB when it is copied back in time."""

LOW: Final = 64 * 1024 * 1024
MAX_LOG_WHEN_LOW: Final = 1024 * 1024
"""Likewise while so few bytes are left on the disk: a long log is room, and a full disk may not have what copying it
takes. On a disk without room for pushes every byte of it is."""

MAX_EXCESS: Final = 1024 * 1024
"""Bytes by which the database's file may be longer than what is in it, before the log is cut, which shortens it."""

SPARE_PAGES: Final = 1024
"""Free pages that stay in the database's file for what is pushed next, 4 MiB: taking pages out costs more than using
them again."""

STEP_PAGES: Final = 256
"""Pages that one transaction takes out, some 10 ms."""

STEP_PAGES_WHEN_FULL: Final = 16
"""Likewise on a full disk: what it writes to the log fits into a slice of the reserve."""

CUT_TRIES: Final = 20
CUT_PAUSE_S: Final = 0.05
"""How often, and how long apart, it is tried to cut the log after pages were taken out: only then the file is shorter,
and a reader may be in the way for a moment."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What taking pages out of the database's file came to, in bytes.

    Args:
        freed: that the file system has back.
        pending: that it gets when a reader, which is open for long, has ended.
    """

    freed: int = 0
    pending: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(self.freed + other.freed, self.pending + other.pending)


class Upkeep:
    """Of one open store.

    Args:
        database: to be kept small.
        room: on the disk.
    """

    def __init__(self, database: Database, room: Room) -> None:
        self._database = database
        self._room = room
        self._making_way = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look after it from now on, beside the requests."""
        self._room.refill(MARGIN)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look after it no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def take(self, work: Work[Result], *, durable: bool = True) -> Result:
        """Write what takes room. Raises OCIError (507) while there is none."""
        self._room.check()
        return await self._database.write(self._room.admitted(work), durable=durable)

    async def free(self, make_work: Callable[[], Work[Result]], *, durable: bool = True) -> Result:
        """Write what frees bytes, now or at the next collection: on a full disk with the room that is kept for that.

        Args:
            make_work: called for each try.
            durable: see `Database.write`.
        """
        result = await self._free(make_work, durable=durable)
        await self.refill()
        return result

    async def refill(self) -> None:
        """Let whatever is free go to the reserve, what the log takes too, before pushes may take it."""
        if not self._room.reserve.missing():
            return
        await self._shrink_log()
        await asyncio.to_thread(self._room.refill)

    async def compact_when_full(self) -> Compacted:
        """`compact`, if there is no room for pushes just now: what was freed so far is to be theirs."""
        if self._room.state() is State.AMPLE:
            return Compacted()
        compacted = await self.compact()
        await self.refill()
        return compacted

    async def compact(self) -> Compacted:
        """Take the pages that nothing uses out of the database's file, but for some where there is room enough."""
        taken = 0
        with contextlib.suppress(OCIError):  # if there is no room even for this, the next collection goes on
            while count := await self._most_to_take_out():
                # A power cut that takes it takes nothing but the room that it has made.
                await self._free(partial(pages.take_out, count), durable=False)
                taken += count
                if self._room.state() is not State.AMPLE:
                    # What the step has made of the log is given back before the next.
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
        return max(min(await self._database.read(pages.count_free()) - keep, most), 0)

    async def _free(self, make_work: Callable[[], Work[Result]], *, durable: bool) -> Result:
        pauses = iter(PAUSES_S)
        while True:
            try:
                return await self._database.write(make_work(), durable=durable)
            except OCIError as error:
                pause = next(pauses, None)
                if not is_full(error) or pause is None:
                    raise
            await asyncio.sleep(pause)
            async with self._making_way:
                await self._shrink_log()
                await asyncio.to_thread(self._room.give_slice)

    async def _shrink_log(self) -> bool:
        """`Database.shrink_log`, on a full disk from the reserve: what the log takes is more than copying it does."""
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
            # What is wrong with it is wrong for requests too, and told to them.
            await self._shrink_log()
        if state is not State.AMPLE:
            await asyncio.to_thread(self._room.refill)
