"""SQL as generators, which yield statements and receive rows, so that it is written once for every database.

A `Transaction` yields `(statement, parameters)` and receives the rows. Its return value is the result. It does no I/O
itself, so the same transaction can run in SQLite's writer thread, on the event loop for a read, or over an asynchronous
connection. Placeholders are `?`, in order.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from typing import Any, Protocol, TypeVar

__all__ = ["Database", "Row", "Statement", "Transaction", "TransactionRunner", "drive"]

Result = TypeVar("Result")
Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]
Transaction = Generator[Statement, list[Row], Result]


class TransactionRunner(Protocol):
    """A database that runs transactions."""

    async def open(self) -> None:
        """Connect, and run the migrations. Raises StoreError, which says what to do."""

    async def close(self) -> None:
        """Finish the writes that were accepted, and disconnect."""

    async def read(self, transaction: Transaction[Result]) -> Result:
        """Run a transaction that only reads. It sees what was committed before, and never waits for a writer."""

    async def write(self, transaction: Transaction[Result], *, durable: bool = True) -> Result:
        """Run a transaction, and return when it is committed.

        A caller that is cancelled gets the cancellation when its transaction is done.

        Args:
            transaction: it happens as a whole or not at all. An exception that it raises undoes it, and is raised here.
            durable: whether it must survive a power cut when this returns. `kill -9` never undoes a commit.
        """


class Database(TransactionRunner, Protocol):
    """The metadata of a store, and what the store has to know about its files."""

    async def read_aside(self, transaction: Transaction[Result]) -> Result:
        """Run a transaction that reads megabytes, like `read`, but in a thread that runs one such at a time."""

    def read_nowait(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        """The rows of one statement, in any thread other than the event loop's. It sees what was committed before.

        None if the rows cannot be read without waiting, on the event loop, while this is not open, and after an error:
        `read` raises that error. The caller bounds the number of rows.
        """

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be written at present, as a text for people; None if, as far as is known, it can."""

    async def problems(self) -> list[str]:
        """The faults that the database finds in its pages and indexes. This reads all of them."""

    def owed(self) -> int:
        """Bytes by which files must still grow for what is committed; below 0 if they will get shorter."""

    def log_size(self) -> int:
        """Bytes of the log on the disk."""

    async def shrink_log(self) -> bool:
        """Truncate the log. False if a reader or a writer prevented it: then a part of the log may remain.

        Raises:
            OCIError: the disk is full or has failed.
        """

    def version(self) -> bytes | None:
        """A value that differs after every commit of any process; None if that is not known without a read."""


def drive(connection: sqlite3.Connection, transaction: Transaction[Result]) -> Result:
    """Run a transaction on a connection to SQLite, as a part of SQLite's current one if there is one."""
    try:
        statement, parameters = next(transaction)
        while True:
            rows = connection.execute(statement, parameters).fetchall()
            statement, parameters = transaction.send(rows)
    except StopIteration as end:
        result: Result = end.value
        return result
