"""Errors of PostgreSQL and of its connection: what a transaction does about them, and what clients get."""

from __future__ import annotations

import asyncpg

from ociserver.errors import OCIError
from ociserver.store.errors import disk_full, unavailable
from ociserver.store.transaction import RunAgainError

__all__ = ["is_conflict", "is_lost", "lost", "of_postgres"]

_CONFLICTS = (
    RunAgainError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    # Another transaction has inserted, or deleted, the same row since this one has looked.
    asyncpg.UniqueViolationError,
    asyncpg.ForeignKeyViolationError,
    # Another node has changed the tables.
    asyncpg.InvalidCachedStatementError,
)

_LOST = (
    OSError,  # TimeoutError too
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.IdleSessionTimeoutError,
    # After a failover, the connection may lead to a server that has become a standby.
    asyncpg.ReadOnlySQLTransactionError,
)

_BUSY = (
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.OutOfMemoryError,
)


def is_conflict(error: BaseException) -> bool:
    """Whether two transactions have met. Nothing was changed, and another try may succeed."""
    return isinstance(error, _CONFLICTS)


def is_lost(error: BaseException) -> bool:
    """Whether the connection is of no more use."""
    # asyncpg raises an InterfaceError that is also a ValueError for a value of a wrong type: an error of ours.
    return isinstance(error, _LOST) and not isinstance(error, ValueError)


def lost() -> OCIError:
    """What a client gets while the database cannot be reached."""
    return unavailable("the registry's database cannot be reached: retry later")


def of_postgres(error: Exception) -> Exception:
    """What a client gets for an error. An error that is not known here is returned unchanged."""
    if isinstance(error, TimeoutError):
        return unavailable("the registry's database does not answer in time: retry later")
    if is_lost(error):
        return lost()
    if isinstance(error, _BUSY) or is_conflict(error):
        return unavailable("the registry's database is busy: retry later")
    if isinstance(error, asyncpg.DiskFullError):
        return disk_full()
    return error
