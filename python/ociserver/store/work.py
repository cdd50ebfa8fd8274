"""How SQL is written once for every database: as generators that ask for statements and get rows.

A `Work` yields `(statement, parameters)` and is sent the rows; what it returns is the result. It does no
I/O of its own, so that one text runs in SQLite's writer thread, on the event loop for a read, or over an
asynchronous connection. Placeholders are `?`, in order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from typing import Any, Protocol, TypeVar

__all__ = ["Database", "Row", "Statement", "Work", "WorkRunner", "drive"]

Result = TypeVar("Result")
Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]
Work = Generator[Statement, list[Row], Result]


class WorkRunner(Protocol):
    """A database that runs works."""

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Raises StoreError with what to do if that cannot be."""

    async def close(self) -> None:
        """Let what is being written finish, and disconnect."""

    async def read(self, work: Work[Result]) -> Result:
        """Run a work that only reads; it sees what was committed before, and never waits for a writer."""

    async def write(self, work: Work[Result], *, durable: bool = True) -> Result:
        """Run a work in a transaction; when this returns, it is committed. Cancelled, it ends when its work has.

        Args:
            work: all of it happens, or nothing; an exception that it raises undoes it and comes out here.
            durable: whether it must survive a power cut before this returns. What survives `kill -9`
                is everything that was committed.
        """


class Database(WorkRunner, Protocol):
    """The metadata of a store, and what the store has to know of its files."""

    async def read_aside(self, work: Work[Result]) -> Result:
        """Run a work that reads megabytes as `read` does, but in a thread, one after another."""

    def read_nowait(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        """The rows, asked for in any thread beside the event loop; it sees what was committed before.

        None where the rows cannot be read without waiting, on the event loop, while this is not open, or after an
        error: `read` tells which. The caller bounds the number of rows.
        """

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be written just now, in words for people; None while it can, as far as is known."""

    async def problems(self) -> list[str]:
        """What the database finds wrong with its own pages and indexes; for a check, since it reads all of them."""

    def owed(self) -> int:
        """Bytes by which files have to grow for what is committed already; below 0 if they will get shorter."""

    def log_size(self) -> int:
        """Bytes that a log takes of the disk."""

    async def shrink_log(self) -> bool:
        """Give back what the log takes. False if a reader or a writer was in the way: part of the log may remain.

        Raises:
            OCIError: the disk is full or has failed.
        """

    def version(self) -> bytes | None:
        """What differs after every commit of any process; None where that cannot be told without asking."""


def drive(connection: sqlite3.Connection, work: Work[Result]) -> Result:
    """Run a work on a connection to SQLite, in whatever transaction that has."""
    try:
        statement, parameters = next(work)
        while True:
            rows = connection.execute(statement, parameters).fetchall()
            statement, parameters = work.send(rows)
    except StopIteration as end:
        result: Result = end.value
        return result
