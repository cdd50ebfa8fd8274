"""Tries whether a database of PostgreSQL can be used, and says what is wrong with it, for people."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import asyncpg

from ociserver.store.external import Database
from ociserver.store.postgres_connections import CONNECT_WAIT_S, MAX_CONNECTIONS, STATEMENT_WAIT_S

__all__ = ["try_database"]

Kind = Literal["fault", "warning", "fact"]

OLDEST: Final = 140_000
"""The oldest version that its makers still maintain, as `server_version_num`."""

MAX_CLOCK_S: Final = 5.0
"""Seconds by which the clocks may differ. Tokens and signed URLs are valid for minutes."""

_TABLE: Final = "ociserver_trial"


async def try_database(
    database: Database, processes: int, *, max_clock_s: float = MAX_CLOCK_S
) -> AsyncIterator[tuple[Kind, str]]:
    """What is wrong with a database, and a fact about it if it can be used.

    Args:
        database: where it is.
        processes: that use it on this node.
        max_clock_s: seconds by which the clocks may differ.
    """
    try:
        connection = await asyncpg.connect(
            database.url,
            password=database.password,
            timeout=CONNECT_WAIT_S,
            command_timeout=STATEMENT_WAIT_S,
            statement_cache_size=0,
        )
    except (ValueError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        yield "fault", _why_not_connected(error)
        return
    try:
        async for found in _look(connection, database, processes, max_clock_s):
            yield found
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        yield "fault", f"the database has failed: {_said(error)}"
    finally:
        await connection.close(timeout=CONNECT_WAIT_S)


def _why_not_connected(error: Exception) -> str:
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return (
                "the database refuses the user or the password. Correct the user in `database`, and "
                "`database-password`; or allow this user and this machine in pg_hba.conf"
            )
        case asyncpg.InvalidCatalogNameError():
            return "the server has no such database. Create it with `createdb`, or correct its name in `database`"
        case asyncpg.TooManyConnectionsError():
            return "the server has no free connection. Raise max_connections of the server, or use a pooler"
        case asyncpg.CannotConnectNowError():
            return "the server is starting or stopping. Try again"
        case TimeoutError():
            return (
                f"the server does not answer within {CONNECT_WAIT_S:g} s. Correct host and port in `database`, and let "
                "firewalls pass connections to it"
            )
        case OSError():
            return (
                f"the server cannot be reached: {_said(error)}. Correct host and port in `database`, and check that "
                "the server runs and accepts connections over the network (listen_addresses)"
            )
        case ValueError() | asyncpg.ClientConfigurationError():
            # The text of the error may repeat a part of the password.
            return "is not the URL of a database: postgresql://USER@HOST/DATABASE"
    return f"a connection cannot be made: {_said(error)}"


async def _look(
    connection: Any, database: Database, processes: int, max_clock_s: float
) -> AsyncIterator[tuple[Kind, str]]:
    refused = await _why_not_written(connection)
    if refused is not None:
        yield "fault", refused
        return
    version, standing = await connection.fetchval("SHOW server_version"), await _standing(connection)
    yield "fact", f"PostgreSQL {version} at {database.name}, {standing}"
    if int(await connection.fetchval("SHOW server_version_num")) < OLDEST:
        yield "warning", f"PostgreSQL {version} is no longer maintained. Use {OLDEST // 10_000} or later"
    before = time.time()
    there = float(await connection.fetchval("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"))
    apart = abs(there - (before + time.time()) / 2)
    if apart > max_clock_s:
        yield (
            "warning",
            f"the clocks of this machine and of the database differ by {apart:.0f} s. Synchronize both (NTP): "
            "otherwise tokens and signed URLs of one node may be invalid for another one",
        )
    wanted = (database.max_connections or MAX_CONNECTIONS) * processes
    most = int(await connection.fetchval("SHOW max_connections"))
    if wanted > most and not database.is_pooled:
        yield (
            "warning",
            f"{processes} processes of this node may use {wanted} connections, but the server has {most}. Lower "
            "`database-connections` or `workers`, or raise max_connections of the server",
        )


async def _why_not_written(connection: Any) -> str | None:
    """Why this user cannot make tables and use them; None if it can."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"CREATE TABLE {_TABLE} (id BIGINT PRIMARY KEY)")
        await connection.execute(f"INSERT INTO {_TABLE} (id) VALUES (1)")
    except asyncpg.ReadOnlySQLTransactionError:
        return "the server is a standby, which only reads. Write the address of the primary into `database`"
    except asyncpg.InsufficientPrivilegeError:
        return (
            "the user may not create tables. Make it the owner of the database, or run "
            "`GRANT CREATE, USAGE ON SCHEMA public TO` this user"
        )
    except asyncpg.InvalidSchemaNameError:
        return "the user has no schema to create tables in. Correct its search_path"
    finally:
        await transaction.rollback()
    return None


async def _standing(connection: Any) -> str:
    """What is in the database."""
    has_tables = await connection.fetchval("SELECT to_regclass('copies') IS NOT NULL")
    return "which has a registry" if has_tables else "in which the server will create its tables"


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
