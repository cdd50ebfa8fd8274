"""The index of a cache whose contents are not in a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from ociserver.store.schema import CACHE
from ociserver.store.sqlite import run_migration
from ociserver.store.transaction import Transaction, drive

__all__ = ["InMemory"]

Result = TypeVar("Result")


class InMemory:
    """A `TransactionRunner` in memory, for one process. It never waits, so the SQL runs on the event loop."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        run_migration(connection, CACHE)
        self._connection = connection

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def read(self, transaction: Transaction[Result]) -> Result:
        return drive(self._opened(), transaction)

    async def write(self, make: Callable[[], Transaction[Result]], *, durable: bool = True) -> Result:
        connection = self._opened()
        connection.execute("BEGIN")
        try:
            result = drive(connection, make())
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the cache is not open: use it in `async with`")
        return self._connection
