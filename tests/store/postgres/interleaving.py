"""Runs two transactions at once, in every order of their statements that the database allows.

The first one stops before one of its statements. Then the second one runs until it has ended, or waits for a lock of
the first. Then the first one goes on. The barrier is a lock in the database itself, so nothing is simulated.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from ociserver.store.postgres import PostgreSQL
from ociserver.store.transaction import Transaction

BARRIER: Final = 4711
"""The number of the lock that is the barrier."""

WAIT_S: Final = 30.0
POLL_S: Final = 0.002

Make = Callable[[], Transaction[Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What two transactions have returned or raised, and how often they ran in total: twice without a conflict."""

    stopped_before: int
    first: Any
    second: Any
    runs: int


class Runs:
    """Counts how often transactions run."""

    def __init__(self) -> None:
        self.count = 0

    def counted(self, make: Make) -> Make:
        def run() -> Transaction[Any]:
            self.count += 1
            return make()

        return run


async def interleaved(
    url: str, prepare: Callable[[], Coroutine[Any, Any, tuple[Make, Make]]], *, row_locks: bool = True
) -> AsyncGenerator[Outcome]:
    """Run two transactions once for each statement of the first.

    Args:
        url: the database.
        prepare: fills the database, and returns both.
        row_locks: False leaves out the locks of the statements, as SQLite does.
    """
    database = PostgreSQL(url)
    observer = await asyncpg.connect(url)
    await database.open()
    try:
        number, was_stopped = 0, True
        while was_stopped:
            runs = Runs()
            first, second = (runs.counted(make if row_locks else unlocked(make)) for make in await prepare())
            await observer.execute("SELECT pg_advisory_lock($1)", BARRIER)
            one = asyncio.ensure_future(database.write(stopping(first, number)))
            await until(observer, one, waiting=1)
            was_stopped = not one.done()
            other = asyncio.ensure_future(database.write(second))
            if was_stopped:
                await until(observer, other, waiting=2)
            await observer.execute("SELECT pg_advisory_unlock($1)", BARRIER)
            results = await asyncio.gather(one, other, return_exceptions=True)
            yield Outcome(number, *results, runs.count)
            number += 1
    finally:
        await database.close()
        await observer.close()


def stopping(make: Make, number: int) -> Make:
    """The same transaction. Its first try stops before this statement; the one after the last is the COMMIT."""
    tries = 0

    def stop() -> Transaction[Any]:
        nonlocal tries
        tries += 1
        barrier = "SELECT pg_advisory_xact_lock(?)", (BARRIER,)
        transaction = make()
        rows: Any = None
        count = 0
        while True:
            try:
                statement = transaction.send(rows)
            except StopIteration as end:
                if tries == 1 and count == number:
                    yield barrier
                return end.value
            if tries == 1 and count == number:
                yield barrier
            rows = yield statement
            count += 1

    return stop


def unlocked(make: Make) -> Make:
    """The same transaction, without the words in braces."""

    def run() -> Transaction[Any]:
        transaction = make()
        rows: Any = None
        while True:
            try:
                statement, parameters = transaction.send(rows)
            except StopIteration as end:
                return end.value
            text = re.sub(r"\{[^}]*\}", "", statement)
            rows = (yield text, parameters) if text else []

    return run


async def until(observer: asyncpg.Connection, task: asyncio.Future[Any], *, waiting: int) -> None:
    """Wait until a transaction has ended, or so many of them wait for a lock."""
    deadline = time.monotonic() + WAIT_S
    while not task.done():
        count = await observer.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if count >= waiting:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(POLL_S)
