"""How SQL is written once for every database: as generators that ask for statements and get rows.

A `Work` yields `(statement, parameters)` and is sent the rows; what it returns is the result. It does no
I/O of its own, so that one text runs in SQLite's writer thread, on the event loop for a read, or over an
asynchronous connection. Placeholders are `?`, in order.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol, TypeVar

__all__ = ["Database", "Row", "Statement", "Work"]

Result = TypeVar("Result")
Row = tuple[Any, ...]
Statement = tuple[str, tuple[Any, ...]]
Work = Generator[Statement, list[Row], Result]


class Database(Protocol):
    """Where the metadata is."""

    async def open(self) -> None:
        """Connect, and bring the tables up to date. Raises StoreError with what to do if that cannot be."""

    async def close(self) -> None:
        """Let what is being written finish, and disconnect."""

    async def read(self, work: Work[Result]) -> Result:
        """Run a work that only reads; it sees what was committed before, and never waits for a writer."""

    def glance(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        """The rows, asked for in any thread beside the event loop; it sees what was committed before.

        None where they cannot be had without waiting, or on the event loop, or while this is not open, or something is
        wrong: `read` tells which. Whoever asks bounds what it gives.
        """

    async def write(self, work: Work[Result], *, durable: bool = True) -> Result:
        """Run a work in a transaction; when this returns, it is committed. Cancelled, it ends when its work has.

        Args:
            work: all of it happens, or nothing; an exception that it raises undoes it and comes out here.
            durable: whether it must survive a power cut before this returns. What survives `kill -9`
                is everything that was committed.
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
        """Give back what the log takes. False if somebody was in the way; then some of it may be given back later.

        Raises:
            OCIError: the disk is full or has failed.
        """

    def version(self) -> bytes | None:
        """What differs after every commit of any process; None where that cannot be told without asking."""
