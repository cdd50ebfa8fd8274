"""Metadata in PostgreSQL, for any number of processes and nodes.

Transactions run in READ COMMITTED, with the locks that are in the statements (`transaction`). One that conflicts with
another runs again. A statement takes a round trip, so the first read of a connection costs two.

The connection of a request may break at any moment (`postgres_connections`). Before the COMMIT was sent, the
transaction runs again on another connection. If the answer to a COMMIT is lost, nobody knows whether it was committed:
the client gets 503 and repeats its request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg

from ociserver.cancellation import finish
from ociserver.errors import OCIError
from ociserver.store.errors import SAYS_MORE, StoreError
from ociserver.store.postgres_connections import (
    CLOCK,
    CONNECT_WAIT_S,
    MAX_CONNECTIONS,
    STATEMENT_WAIT_S,
    Connections,
    reason_of,
)
from ociserver.store.postgres_errors import is_lost
from ociserver.store.postgres_schema import migrate
from ociserver.store.postgres_text import drive
from ociserver.store.schema import REGISTRY, Schema
from ociserver.store.transaction import LeaseHeldError, Row, Transaction

__all__ = ["PostgreSQL"]

Result = TypeVar("Result")

CACHE_MANIFESTS_S: Final = 1.0
"""Default of `cache_manifests_s`: the pulls of one image by many nodes of a cluster come within seconds."""

LEASE_S: Final = 30
"""Seconds after which a lease ends that its holder does not renew. It is renewed three times as often."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY"
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
        self._is_pooled = is_pooled
        self._statement_wait_s = statement_wait_s
        self.cache_manifests_s: Final = cache_manifests_s
        self._connections = Connections(
            url,
            password=password,
            max_connections=max_connections,
            is_pooled=is_pooled,
            statement_wait_s=statement_wait_s,
        )

    async def open(self) -> None:
        try:
            await self._connections.open()
            async with self._connections.connection() as connection:
                await migrate(connection, self._schema, partial(drive, connection.fetch))
        except ValueError:
            await self.close()
            raise StoreError(_WRONG_URL) from None
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            await self.close()
            raise StoreError(f"the database cannot be used: {reason_of(error)}; {SAYS_MORE}") from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._connections.close()

    # Transactions

    async def read(self, transaction: Transaction[Result]) -> Result:
        # Each statement is a transaction of its own, so it can be repeated on another connection.
        return await drive(self._fetch_aside, transaction)

    async def _fetch_aside(self, text: str, *parameters: Any) -> list[Any]:
        async def fetch() -> list[Any]:
            async with self._connections.connection() as connection:
                if self._is_pooled:
                    await connection.execute(_BEGIN_READ)
                rows: list[Any] = await connection.fetch(text, *parameters)
                if self._is_pooled:
                    await connection.execute("COMMIT")
                return rows

        return await self._connections.retried(fetch)

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
            raise StoreError(f"the database cannot be read: {reason_of(error)}") from error

    def read_nowait(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        return None

    async def write(
        self, make: Callable[[], Transaction[Result]], *, durable: bool = True, check: Callable[[], None] | None = None
    ) -> Result:
        # Every commit is durable. Otherwise a crash of the server, or a failover, would undo what only a power cut may
        # undo, such as the progress of an upload.
        return await finish(self._connections.retried(lambda: self._write(make, check)))

    async def _write(self, make: Callable[[], Transaction[Result]], check: Callable[[], None] | None) -> Result:
        async with self._connections.connection() as connection:
            if check is not None:
                check()
            await connection.execute(_BEGIN)
            result = await drive(connection.fetch, make())
            try:
                await connection.execute("COMMIT")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if is_lost(error):
                    # Not tried again: it may have been committed.
                    raise self._connections.known(error) from None
                raise
            return result

    def epoch(self) -> None:
        return None

    @property
    def unavailable(self) -> str | None:
        return self._connections.unavailable

    async def problems(self) -> list[str]:
        return []  # amcheck needs rights that an owner of tables does not have

    # The clock and leases

    def now(self) -> float:
        return self._connections.now()

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
        f" VALUES (?, ?, CAST({CLOCK} AS BIGINT) + {LEASE_S}) ON CONFLICT (name)"
        " DO UPDATE SET holder = excluded.holder, until = excluded.until"
        f" WHERE l.holder = excluded.holder OR l.until < CAST({CLOCK} AS BIGINT) RETURNING holder",
        (name, holder),
    )
    return bool(rows)


def _end_lease(name: str, holder: str) -> Transaction[None]:
    yield "DELETE FROM ociserver_leases WHERE name = ? AND holder = ?", (name, holder)
