"""SQL as generators, which yield statements and receive rows, so that it is written once for every database.

A `Transaction` yields `(statement, parameters)` and receives the rows. Its return value is the result. It does no I/O
itself, so the same transaction can run in SQLite's writer thread, on the event loop for a read, or over an asynchronous
connection. Placeholders are `?`, in order.

Words in braces are for databases in which several transactions write at the same time, and so need row locks:
`SELECT id FROM copies WHERE digest = ? {FOR UPDATE}`. SQLite has one writer at a time. It leaves these words out, and
does not run a statement that has nothing else: the answer to that is no rows.

What locks what
===============
Transactions run in READ COMMITTED: each statement sees what was committed when it began. So a transaction that looks
and then acts locks first, and looks in the next statement. (The statement that waits for a lock does not look again.)

- Whoever adds something to a repository locks its row FOR KEY SHARE; a foreign key does that too. Whoever removes the
  last thing of a repository locks it FOR UPDATE (`writes.unlist_if_empty`).
- Whoever links a content locks the row of the copy FOR KEY SHARE or more. Whoever removes a link, or the copy, locks it
  FOR UPDATE.
- The push of a manifest locks what it references FOR KEY SHARE. Collection locks what it removes FOR UPDATE.
- Where two transactions may insert the same row, the INSERT says ON CONFLICT.

The order is: the total of a cache (`compose.cache.queries`); then copies, by digest; then links; then repositories.
The push of a manifest and the deletion of a repository begin with the repository, so they can meet others in a
deadlock. The database then undoes one of the two transactions, which runs again.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar

__all__ = [
    "MAX_TEXTS",
    "LeaseHeldError",
    "Metadata",
    "Row",
    "RunAgainError",
    "Statement",
    "Transaction",
    "TransactionRunner",
    "drive",
]

Result = TypeVar("Result")
Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]
Transaction = Generator[Statement, list[Row], Result]

_LOCKS: Final = re.compile(r" ?\{[^}]*\}")

MAX_TEXTS: Final = 1_000
"""Statements whose text for a database is remembered. There are some 200, and lists of digests have 100 lengths."""


class RunAgainError(Exception):
    """A transaction found that another one had changed what it has read. Nothing was changed; `write` runs it again."""


class LeaseHeldError(Exception):
    """Another process, or another node, has the lease."""


class TransactionRunner(Protocol):
    """A database that runs transactions."""

    async def open(self) -> None:
        """Connect, and run the migrations. Raises StoreError, which says what to do."""

    async def close(self) -> None:
        """Finish the writes that were accepted, and disconnect."""

    async def read(self, transaction: Transaction[Result]) -> Result:
        """Run a transaction that only reads. It never waits for a writer.

        Each statement sees what was committed before it, by this process or another.
        """

    async def write(self, make: Callable[[], Transaction[Result]], *, durable: bool = True) -> Result:
        """Run a transaction, and return when it is committed.

        A caller that is cancelled gets the cancellation when its transaction is done. After a 503, the transaction may
        have been committed: the database was lost at that moment. So each transaction can be repeated by its client.

        Args:
            make: makes the transaction, for each try: one that conflicts with another runs again. So it must not use up
                what it is given, such as an iterator. It happens as a whole or not at all. An exception that it raises
                undoes it, and is raised here.
            durable: whether it must survive a power cut when this returns. `kill -9` never undoes a commit.

        Raises:
            OCIError: 503 with Retry-After if the database cannot be reached or is busy, 507 if its disk is full.
        """


class Metadata(TransactionRunner, Protocol):
    """The metadata of a store: what it holds, and where.

    One machine or many may use it at the same time. What a database does not have in files of this machine, it answers
    with nothing: no bytes owed, no log, no free pages.
    """

    async def write(
        self, make: Callable[[], Transaction[Result]], *, durable: bool = True, check: Callable[[], None] | None = None
    ) -> Result:
        """`TransactionRunner.write`, with a check.

        Args:
            make: makes the transaction, for each try.
            durable: whether it must survive a power cut when this returns.
            check: called just before the transaction runs, which may have waited for others, in any thread. If it
                raises, nothing is changed, and its exception is raised here.
        """

    async def read_aside(self, transaction: Transaction[Result]) -> Result:
        """Run a transaction that reads megabytes, like `read`, but so that other reads need not wait for it."""

    def read_apart(self, transaction: Transaction[Result]) -> Result:
        """Run a transaction that only reads, over a connection of its own, and wait until it has ended.

        Any thread may call it, and this need not be open.

        Raises:
            StoreError: the database cannot be read, or does not exist yet.
        """

    def read_nowait(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        """The rows of one statement, in any thread other than the event loop's. It sees what was committed before.

        None if the rows cannot be read without waiting, on the event loop, while this is not open, and after an error:
        `read` raises that error. The caller bounds the number of rows.
        """

    def version(self) -> bytes | None:
        """A value that differs after every commit of any process; None if that is not known without a read."""

    def epoch(self) -> int | None:
        """A number that stays the same while only this process commits. None if that is not known without a read.

        What a transaction of this process has written is unchanged by others as long as the epoch is what it was before
        that transaction.
        """

    @property
    def cache_manifests_s(self) -> float:
        """Seconds for which a manifest that was read by digest may be served without another look. 0: not at all."""

    def now(self) -> float:
        """Seconds since 1970, by the clock that all users of this database share: not by that of one node."""

    def lease(self, name: str) -> AbstractAsyncContextManager[None]:
        """Have a lease, which only one holder at a time has among all processes and nodes.

        It ends with the block, or when its process or node dies: with files at once, with a row when it expires. So for
        some seconds two holders are possible, if one of them was cut off from the database: what a lease protects must
        be correct with two holders, and may only be a waste.

        Raises:
            LeaseHeldError: somebody else has it.
        """

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be written at present, as a text for people; None if, as far as is known, it can."""

    async def problems(self) -> list[str]:
        """The faults that the database finds in its pages and indexes. This may read all of them."""

    # Files of the database on the disk of the store

    def settle(self) -> None:
        """Make the commits that no longer name files survive a power cut, before these files are deleted. It blocks."""

    def owed(self) -> int:
        """Bytes by which files must still grow for what is committed; below 0 if they will get shorter."""

    def log_size(self) -> int:
        """Bytes of the log on the disk."""

    async def shrink_log(self) -> bool:
        """Truncate the log. False if a reader or a writer prevented it: then a part of the log may remain.

        Raises:
            OCIError: the disk is full or has failed.
        """

    async def count_free(self) -> int:
        """How many pages `take_out` could remove."""

    async def take_out(self, pages: int) -> None:
        """Remove this many free pages from the file, or all if there are fewer. Not durable: a power cut may undo it.

        Raises:
            OCIError: the disk is full or has failed.
        """


def drive(connection: sqlite3.Connection, transaction: Transaction[Result]) -> Result:
    """Run a transaction on a connection to SQLite, as a part of SQLite's current one if there is one."""
    try:
        statement, parameters = next(transaction)
        while True:
            text = _without_locks(statement)
            rows = connection.execute(text, parameters).fetchall() if text else []
            statement, parameters = transaction.send(rows)
    except StopIteration as end:
        result: Result = end.value
        return result


@lru_cache(MAX_TEXTS)
def _without_locks(statement: str) -> str:
    return _LOCKS.sub("", statement)
