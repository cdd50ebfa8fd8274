"""Connections to PostgreSQL, and whether it answers.

The connection of a request may break, or never answer, at any moment. After such an error a connection that is made
for this purpose asks the database. If that fails, requests are refused at once and need not wait in vain, and the
database is asked again and again until it answers. So one slow statement, or one broken connection, refuses nobody
else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeVar

import asyncpg

from ociserver.store.postgres_errors import is_conflict, is_lost, lost, of_postgres
from ociserver.store.transaction import MAX_TEXTS

__all__ = ["CLOCK", "CONNECT_WAIT_S", "MAX_CONNECTIONS", "STATEMENT_WAIT_S", "Connections", "reason_of"]

Result = TypeVar("Result")

MAX_CONNECTIONS: Final = 10
"""Connections of one process. Each is a process of the server, which has 100 by default."""

CONNECT_WAIT_S: Final = 5.0
"""Seconds that a connection may take to be made."""

STATEMENT_WAIT_S: Final = 10.0
"""Seconds that a statement may take, or wait for a lock. All of ours take milliseconds, except those of `check`."""

ACQUIRE_WAIT_S: Final = 10.0
"""Seconds that a request waits for a connection that is free."""

UNDO_WAIT_S: Final = 2.0
"""Seconds that a connection may take to end what has failed. Then it is closed."""

CLOSE_WAIT_S: Final = 20.0
"""Seconds in which all connections must be free, and close."""

PAUSES_S: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each new try of a transaction."""

PROBE_S: Final = 1.0
"""Seconds between two tries to reach a database that does not answer."""

PROBE_WAIT_S: Final = 2.0
"""Seconds in which it must answer each of the two questions of such a try."""

CLOCK: Final = "extract(epoch FROM clock_timestamp())::float8"
"""The time of the server, in SQL."""

_log = logging.getLogger("ociserver")


class Connections:
    """A bounded number of connections to one database.

    Args:
        url: of the database.
        password: of the user. None: where libpq looks for it.
        max_connections: the most connections. One more may ask whether the database answers.
        is_pooled: whether a pooler in transaction mode is in front of the database. Then nothing is prepared.
        statement_wait_s: seconds that a statement may take.
    """

    def __init__(
        self, url: str, *, password: str | None, max_connections: int, is_pooled: bool, statement_wait_s: float
    ) -> None:
        self._url = url
        self._max_connections = max_connections
        self._arguments: dict[str, Any] = {
            "password": password,
            "timeout": CONNECT_WAIT_S,
            "command_timeout": statement_wait_s,
            "statement_cache_size": 0 if is_pooled else MAX_TEXTS,
        }
        self._pool: Any = None
        self._clock_offset = 0.0
        self._watching: asyncio.Task[None] | None = None
        self.unavailable: str | None = None
        """Why nothing can be read or written at present, as a text for people; None if, as far as is known, it can."""

    async def open(self) -> None:
        """Prepare for connections. They are made when they are needed.

        Raises:
            ValueError: the URL is not valid. The message may have a part of the password.
        """
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._max_connections,
            init=self._read_clock,
            reset=_leave,
            **self._arguments,
        )

    async def close(self) -> None:
        """Wait until all connections are free, and close them."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])
        pool, self._pool = self._pool, None
        if pool is not None:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # The pool breaks the connections if they do not close in time, or with an error.
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await pool.close()

    def now(self) -> float:
        """Seconds since 1970, by the clock of the database."""
        return time.monotonic() + self._clock_offset

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection without a transaction. What an error leaves behind is undone.

        Raises:
            OCIError: 503, while the database is known not to answer.
        """
        if self._pool is None:
            raise RuntimeError("the store is not open")
        if self.unavailable is not None:
            raise lost()
        pool = self._pool
        connection = await pool.acquire(timeout=ACQUIRE_WAIT_S)
        try:
            yield connection
        except BaseException as error:
            await _undo(connection, error)
            raise
        finally:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await pool.release(connection, timeout=UNDO_WAIT_S)

    async def retried(self, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do work on a connection, and do it again after a conflict, or if the connection was lost.

        Raises:
            OCIError: 503 if none of the tries succeeds.
        """
        pauses = iter(PAUSES_S)
        while True:
            try:
                return await work()
            except Exception as error:
                pause = next(pauses, None)
                # A statement that has timed out would only wait again.
                is_to_try_again = is_conflict(error) or (is_lost(error) and not isinstance(error, TimeoutError))
                if pause is None or not is_to_try_again:
                    raise self.known(error) from None
            await asyncio.sleep(pause * (1 + secrets.randbelow(100) / 100))

    def known(self, error: Exception) -> Exception:
        """What a client gets for an error. After one of a connection, this begins to look after the database."""
        if is_lost(error) and self._pool is not None and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch())
        return of_postgres(error)

    async def _watch(self) -> None:
        """Ask the database until it answers."""
        while (error := await self._ask()) is not None:
            if self.unavailable is None:
                self.unavailable = "the registry's database cannot be reached"
                _log.error("the database cannot be reached: %s", reason_of(error))
                # They may lead to a server that is gone, or to none.
                await self._pool.expire_connections()
            await asyncio.sleep(PROBE_S)
        if self.unavailable is not None:
            self.unavailable = None
            _log.warning("the database answers again")

    async def _ask(self) -> Exception | None:
        """Ask the database something, over a connection that is free, or else a new one. Returns why it has failed."""
        try:
            async with asyncio.timeout(PROBE_WAIT_S):
                connection = await self._pool.acquire()
                try:
                    await connection.execute("SELECT 1")
                finally:
                    await self._pool.release(connection, timeout=UNDO_WAIT_S)
        except Exception as error:
            if not is_lost(error):
                return None  # an answer all the same
        else:
            return None
        try:
            connection = await asyncpg.connect(self._url, **{**self._arguments, "timeout": PROBE_WAIT_S})
            try:
                await connection.execute("SELECT 1", timeout=PROBE_WAIT_S)
            finally:
                connection.terminate()
        except Exception as error:
            return error if is_lost(error) else None
        return None

    async def _read_clock(self, connection: Any) -> None:
        """Set our clock by that of the server. Each new connection does it, and a connection lives some minutes."""
        before = time.monotonic()
        there = await connection.fetchval(f"SELECT {CLOCK}")
        self._clock_offset = there - (before + time.monotonic()) / 2


async def _undo(connection: Any, error: BaseException) -> None:
    """Leave no transaction open on a connection, or close it."""
    if connection.is_closed():
        return
    if is_lost(error) and not isinstance(error, TimeoutError):
        connection.terminate()
        return
    try:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK", timeout=UNDO_WAIT_S)
    except Exception:
        connection.terminate()


async def _leave(connection: Any) -> None:
    """What the pool does with a connection that is free again: nothing, because nothing of ours stays in a session."""


def reason_of(error: Exception) -> str:
    """An error as a text."""
    return str(error) or type(error).__name__
