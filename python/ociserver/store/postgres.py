"""Metadata in PostgreSQL, for any number of processes and nodes.

Transactions run in READ COMMITTED, with the locks that are in the statements (`transaction`). One that conflicts with
another runs again. A statement takes a round trip, so the first read of a connection costs two.

The connection of a request may break at any moment. Before the COMMIT was sent, the transaction runs again on another
connection. If the answer to a COMMIT is lost, nobody knows whether it was committed: the client gets 503 and repeats
its request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg

from ociserver.cancellation import finish
from ociserver.errors import OCIError
from ociserver.store.errors import StoreError
from ociserver.store.postgres_errors import is_conflict, is_lost, of_postgres
from ociserver.store.postgres_schema import migrate
from ociserver.store.postgres_text import drive
from ociserver.store.schema import REGISTRY, Schema
from ociserver.store.transaction import MAX_TEXTS, LeaseHeldError, Row, Transaction

__all__ = ["PostgreSQL"]

Result = TypeVar("Result")

MAX_CONNECTIONS: Final = 10
"""Connections of one process. Each is a process of the server, which has 100 by default."""

CONNECT_WAIT_S: Final = 5.0
"""Seconds that a connection may take to be made."""

STATEMENT_WAIT_S: Final = 15.0
"""Seconds that a statement may take, or wait for a lock. All of ours take milliseconds, except those of `check`."""

ACQUIRE_WAIT_S: Final = 10.0
"""Seconds that a request waits for a connection that is free."""

PAUSES_S: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Seconds before each new try of a transaction."""

LEASE_S: Final = 30
"""Seconds after which a lease ends that its holder does not renew. It is renewed three times as often."""

CACHE_MANIFESTS_S: Final = 1.0
"""Default of `cache_manifests_s`: the pulls of one image by many nodes of a cluster come within seconds."""

PROBE_S: Final = 1.0
"""Seconds between two tries to reach a database that was lost."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
_CLOCK: Final = "extract(epoch FROM clock_timestamp())::float8"

_WRONG_URL: Final = "the URL of the database is not valid: postgresql://user@host/database"
"""Without the error of asyncpg, which may repeat a part of the password."""

_log = logging.getLogger("ociserver")


class PostgreSQL:
    """A database of PostgreSQL, as `Metadata`.

    Args:
        url: `postgresql://user@host/database`. asyncpg describes what it can have, several hosts among them.
        password: of the user. None: the one in the URL, in PGPASSWORD or in the file of passwords of libpq.
        schema: the tables. `open` runs the migrations that an older database needs.
        max_connections: connections of this process.
        is_pooled: whether a pooler such as PgBouncer, in transaction mode, is in front of the database. Then nothing
            is prepared, and each read is a transaction.
        statement_wait_s: seconds that a statement may take.
        cache_manifests_s: seconds for which a process serves a manifest by digest without another look. For so long, it
            may serve one that another process or node has deleted. Nothing else is cached: a tag, a HEAD, an upload
            and an API key are read each time. 0: manifests too.
    """

    def __init__(
        self,
        url: str,
        schema: Schema = REGISTRY,
        *,
        password: str | None = None,
        max_connections: int = MAX_CONNECTIONS,
        is_pooled: bool = False,
        statement_wait_s: float = STATEMENT_WAIT_S,
        cache_manifests_s: float = CACHE_MANIFESTS_S,
    ) -> None:
        self._url = url
        self._password = password
        self._schema = schema
        self._max_connections = max_connections
        self._is_pooled = is_pooled
        self._statement_wait_s = statement_wait_s
        self.cache_manifests_s: Final = cache_manifests_s
        self._pool: Any = None
        self._clock_offset = 0.0
        self._unavailable: str | None = None
        self._probe: asyncio.Task[None] | None = None

    async def open(self) -> None:
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                password=self._password,
                min_size=0,
                max_size=self._max_connections,
                timeout=CONNECT_WAIT_S,
                command_timeout=self._statement_wait_s,
                statement_cache_size=0 if self._is_pooled else MAX_TEXTS,
                init=self._read_clock,
                reset=_leave,
            )
            async with self._pool.acquire() as connection:
                await migrate(connection, self._schema, partial(drive, connection.fetch))
        except ValueError:
            await self.close()
            raise StoreError(_WRONG_URL) from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            await self.close()
            raise StoreError(f"the database cannot be used: {_reason(error)}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel()
            await asyncio.wait([probe])
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    # Transactions

    async def read(self, transaction: Transaction[Result]) -> Result:
        # Each statement is a transaction of its own, so it can be repeated on another connection.
        return await drive(self._fetch_aside, transaction)

    async def _fetch_aside(self, text: str, *parameters: Any) -> list[Any]:
        async def fetch() -> list[Any]:
            async with self._connection() as connection:
                if self._is_pooled:
                    await connection.execute(_BEGIN_READ)
                rows: list[Any] = await connection.fetch(text, *parameters)
                if self._is_pooled:
                    await connection.execute("COMMIT")
                return rows

        return await self._try(fetch)

    async def read_aside(self, transaction: Transaction[Result]) -> Result:
        return await self.read(transaction)

    def read_apart(self, transaction: Transaction[Result]) -> Result:
        # In a thread of its own, because that of the caller may have an event loop.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, self._read_apart(transaction)).result()

    async def _read_apart(self, transaction: Transaction[Result]) -> Result:
        try:
            connection = await asyncpg.connect(
                self._url,
                password=self._password,
                timeout=CONNECT_WAIT_S,
                command_timeout=self._statement_wait_s,
                statement_cache_size=0,
            )
            try:
                async with connection.transaction(readonly=True):
                    return await drive(connection.fetch, transaction)
            finally:
                await connection.close(timeout=CONNECT_WAIT_S)
        except ValueError:
            raise StoreError(_WRONG_URL) from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StoreError(f"the database cannot be read: {_reason(error)}") from error

    def read_nowait(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        return None

    async def write(self, make: Callable[[], Transaction[Result]], *, durable: bool = True) -> Result:
        # Every commit is durable. Otherwise a crash of the server, or a failover, would undo what only a power cut may
        # undo, such as the progress of an upload.
        return await finish(self._try(lambda: self._write(make)))

    async def _try(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do work on a connection, and do it again after a conflict, or if the connection was lost."""
        pauses = iter(PAUSES_S)
        while True:
            try:
                return await work()
            except Exception as error:
                pause = next(pauses, None)
                # A statement that has timed out would only wait again.
                is_to_try_again = is_conflict(error) or (is_lost(error) and not isinstance(error, TimeoutError))
                if pause is None or not is_to_try_again:
                    raise self._known(error) from None
            await asyncio.sleep(pause * (1 + secrets.randbelow(100) / 100))

    async def _write(self, make: Callable[[], Transaction[Result]]) -> Result:
        async with self._connection() as connection:
            await connection.execute(_BEGIN)
            result = await drive(connection.fetch, make())
            try:
                await connection.execute("COMMIT")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if is_lost(error):
                    # Not tried again: it may have been committed.
                    raise self._known(error) from None
                raise
            return result

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """A connection without a transaction. What an error leaves behind is undone."""
        if self._pool is None:
            raise RuntimeError("the store is not open")
        connection = await self._pool.acquire(timeout=ACQUIRE_WAIT_S)
        try:
            yield connection
        except BaseException as error:
            await _undo(connection, error)
            raise
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._pool.release(connection)
        self._unavailable = None

    # Whether it can be reached

    @property
    def unavailable(self) -> str | None:
        return self._unavailable

    def _known(self, error: Exception) -> Exception:
        """What a client gets for an error. A database that was lost is asked until it answers again."""
        if is_lost(error):
            if self._unavailable is None:
                _log.error("the database cannot be reached: %s", _reason(error))
            self._unavailable = "the registry's database cannot be reached"
            if self._probe is None or self._probe.done():
                self._probe = asyncio.create_task(self._wait_for_it())
        return of_postgres(error)

    async def _wait_for_it(self) -> None:
        while self._unavailable is not None and self._pool is not None:
            await asyncio.sleep(PROBE_S)
            with contextlib.suppress(Exception):
                async with self._connection() as connection:
                    await connection.execute("SELECT 1")
        if self._unavailable is None:
            _log.warning("the database answers again")

    async def problems(self) -> list[str]:
        return []  # amcheck needs rights that an owner of tables does not have

    # The clock and leases

    def now(self) -> float:
        return time.monotonic() + self._clock_offset

    async def _read_clock(self, connection: Any) -> None:
        """Set our clock by that of the server. Each new connection does it, and a connection lives some minutes."""
        before = time.monotonic()
        there = await connection.fetchval(f"SELECT {_CLOCK}")
        self._clock_offset = there - (before + time.monotonic()) / 2

    @contextlib.asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[None]:
        holder = secrets.token_hex(16)
        if not await self.write(partial(_take_lease, name, holder)):
            raise LeaseHeldError(name)
        renewing = asyncio.create_task(self._renew_lease(name, holder))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            with contextlib.suppress(OCIError):  # it expires
                await self.write(partial(_end_lease, name, holder))

    async def _renew_lease(self, name: str, holder: str) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 3)
            with contextlib.suppress(OCIError):
                if not await self.write(partial(_take_lease, name, holder)):
                    _log.warning("the lease %r has expired, and another node has it now", name)
                    return

    # Nothing of it is in the folder of the store

    def settle(self) -> None:
        pass

    def version(self) -> bytes | None:
        return None

    def owed(self) -> int:
        return 0

    def log_size(self) -> int:
        return 0

    async def shrink_log(self) -> bool:
        return True

    async def count_free(self) -> int:
        return 0

    async def take_out(self, pages: int) -> None:
        pass


def _take_lease(name: str, holder: str) -> Transaction[bool]:
    """Take a lease, or renew it. False if another holder has it."""
    rows = yield (
        "INSERT INTO ociserver_leases AS l (name, holder, until)"
        f" VALUES (?, ?, CAST({_CLOCK} AS BIGINT) + {LEASE_S}) ON CONFLICT (name)"
        " DO UPDATE SET holder = excluded.holder, until = excluded.until"
        f" WHERE l.holder = excluded.holder OR l.until < CAST({_CLOCK} AS BIGINT) RETURNING holder",
        (name, holder),
    )
    return bool(rows)


def _end_lease(name: str, holder: str) -> Transaction[None]:
    yield "DELETE FROM ociserver_leases WHERE name = ? AND holder = ?", (name, holder)


async def _undo(connection: Any, error: BaseException) -> None:
    """Leave no transaction open on a connection, or close it."""
    if connection.is_closed():
        return
    if is_lost(error) and not isinstance(error, TimeoutError):
        connection.terminate()
        return
    try:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
    except Exception:
        connection.terminate()


async def _leave(connection: Any) -> None:
    """What the pool does with a connection that is free again: nothing, because nothing of ours stays in a session."""


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
