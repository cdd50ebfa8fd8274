"""Creates the tables in PostgreSQL, and runs the migrations of older ones.

Nodes of two versions may use the same database during an upgrade. So beside its version, the database records which
older versions can still use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from ociserver.store.errors import StoreError
from ociserver.store.schema import Schema
from ociserver.store.transaction import Transaction

__all__ = ["migrate"]

_TYPES: Final = {
    "identity": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "bytes": "BYTEA",
    # Compared byte by byte, as in SQLite: lists are in this order.
    "text": 'TEXT COLLATE "C"',
    "json": "BYTEA",
    "without_rowid": "",
    "and_id": ", id",
    "and_link": ", repository_id, copy_id",
}

_OWN: Final = (
    "CREATE TABLE IF NOT EXISTS ociserver_version (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL,"
    " readable_from INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS ociserver_leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until BIGINT NOT NULL)",
    "INSERT INTO ociserver_version (id, version, readable_from) VALUES (1, 0, 0) ON CONFLICT DO NOTHING",
)
"""Tables that only a database of several nodes has."""

WAIT_S: Final = 600.0
"""Seconds that a step of a migration may take, or wait for another node that runs it."""

TRIES: Final = 10
"""How often to create these. IF NOT EXISTS still fails if another node creates the same table at that moment."""


async def migrate(connection: Any, schema: Schema, run: Callable[[Transaction[None]], Awaitable[None]]) -> None:
    """Bring the tables to the version of the schema.

    Args:
        connection: of asyncpg, without a transaction.
        schema: the tables.
        run: runs a transaction as a part of the connection's current one.

    Raises:
        StoreError: the database belongs to another program, or to a newer version that this one cannot read.
    """
    if not await _has_version(connection):
        await _create_own(connection, schema)
    while not await _run_next(connection, schema, run):
        pass


async def _create_own(connection: Any, schema: Schema) -> None:
    for attempt in range(TRIES):
        if await _exists(connection, schema.table) and not await _exists(connection, "ociserver_version"):
            raise StoreError(
                f"the database has a table {schema.table} that ociserver has not made: give ociserver its own database"
            )
        try:
            for statement in _OWN:
                await connection.execute(statement)
        except (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
            if attempt == TRIES - 1:
                raise
        else:
            return


async def _run_next(connection: Any, schema: Schema, run: Callable[[Transaction[None]], Awaitable[None]]) -> bool:
    """Run the next migration. True if there is none."""
    await connection.execute("BEGIN")
    try:
        # Other nodes wait here, and then find the new version.
        row = await connection.fetchrow(
            "SELECT version, readable_from FROM ociserver_version FOR UPDATE", timeout=WAIT_S
        )
        version, readable_from = row
        is_done: bool = version >= schema.version
        if is_done:
            _check_readable(schema, version, readable_from)
        else:
            for step in schema.migrations[version]:
                if isinstance(step, str):
                    await connection.execute(step.format_map(_TYPES), timeout=WAIT_S)
                else:
                    await run(step())
            is_newest = version + 1 == schema.version
            await connection.execute(
                "UPDATE ociserver_version SET version = $1, readable_from = $2",
                version + 1,
                (schema.oldest_reader if is_newest else 0) or version + 1,
            )
    except BaseException:
        if not connection.is_closed():
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")
    return is_done


def _check_readable(schema: Schema, version: int, readable_from: int) -> None:
    if version > schema.version < readable_from:
        raise StoreError(
            f"the database was written by a newer ociserver (its tables are version {version}, which needs at least "
            f"{readable_from}; this one knows {schema.version}): upgrade ociserver"
        )


async def _has_version(connection: Any) -> bool:
    # The row is the last thing that is made.
    return await _exists(connection, "ociserver_version") and bool(
        await connection.fetchval("SELECT count(*) FROM ociserver_version")
    )


async def _exists(connection: Any, table: str) -> bool:
    return bool(await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table))
