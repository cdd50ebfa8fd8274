"""Metadata in SQLite: reads on the event loop, writes through one thread that commits many together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from ociserver.errors import OCIError, RegistryError
from ociserver.store.schema import MIGRATIONS, VERSION
from ociserver.store.work import Work

__all__ = ["Durability", "SQLite", "StoreError"]

Result = TypeVar("Result")
Durability = Literal["full", "normal", "off"]

MAX_BATCH: Final = 256
"""Works that one transaction takes: enough that a slow disk does not limit, few enough that none waits long."""

WAL_PAGES: Final = 4_000
"""Pages of 4 KiB after which the log is copied back: 16 MiB, so that its two extra syncs are rare."""

_TYPES: Final = {"identity": "INTEGER PRIMARY KEY", "bytes": "BLOB", "without_rowid": " WITHOUT ROWID"}
_MINIMUM: Final = (3, 35, 0)

_log = logging.getLogger("ociserver")


class StoreError(RegistryError):
    """The folder cannot be used; the message says why, and what to do."""


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    durable: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class SQLite:
    """One database file, used by any number of processes.

    Group commit: while one transaction is being synced the next works wait in a queue, and then share
    one transaction and one sync. Each has a savepoint of its own, so an error undoes it alone.

    Args:
        path: of the database file.
        durability: `full` syncs every durable commit; `normal` leaves that to checkpoints; `off` never syncs.
    """

    def __init__(self, path: Path, durability: Durability = "full") -> None:
        self._path = path
        self._durability = durability
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._reader: sqlite3.Connection | None = None
        self._lock = -1

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < _MINIMUM:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: {'.'.join(map(str, _MINIMUM))} is needed")
        # Writers of several processes queue on this file, which is fair; SQLite's own busy handler polls.
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        writer = self._connect()
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._migrate(writer)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only = ON")
        self._thread = threading.Thread(target=self._run, args=(writer,), name="ociserver-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def read(self, work: Work[Result]) -> Result:
        assert self._reader is not None, "the store is not open"
        try:
            return _drive(self._reader, work)
        except sqlite3.Error as error:
            raise _translated(error) from error

    async def write(self, work: Work[Result], *, durable: bool = True) -> Result:
        assert self._thread is not None, "the store is not open"
        loop = asyncio.get_running_loop()
        job = _Job(work, durable, loop, loop.create_future())
        self._jobs.put(job)
        # A caller that is cancelled does not undo what the writer has begun.
        result: Result = await asyncio.shield(job.future)
        return result

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                self._path, timeout=60.0, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability][False]}")
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be opened: {error}") from error
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreError(
                f"{self._path} was written by a newer ociserver (its tables are version {version}, this one knows "
                f"{VERSION}): upgrade ociserver, or serve another folder"
            )
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(statement.format_map(_TYPES))
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")

    def _run(self, connection: sqlite3.Connection) -> None:
        synchronous = ""
        with contextlib.closing(connection):
            while True:
                batch, last = self._next_batch()
                if batch:
                    wanted = _SYNCHRONOUS[self._durability][any(job.durable for job in batch)]
                    if wanted != synchronous:
                        connection.execute(f"PRAGMA synchronous = {wanted}")
                        synchronous = wanted
                    self._commit(connection, batch)
                    for loop in {job.loop for job in batch}:
                        with contextlib.suppress(RuntimeError):  # a loop that has been closed waits for nothing
                            loop.call_soon_threadsafe(_resolve, [job for job in batch if job.loop is loop])
                if last:
                    return

    def _next_batch(self) -> tuple[list[_Job], bool]:
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            batch.append(job)
            if len(batch) == MAX_BATCH:
                return batch, False
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, connection: sqlite3.Connection, batch: list[_Job]) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                _attempt(connection, job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            # The transaction itself failed (a full disk, an I/O error): nobody's work is there.
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            for job in batch:
                job.error = job.error or _translated(error)
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


_SYNCHRONOUS: Final = {"full": ("NORMAL", "FULL"), "normal": ("NORMAL", "NORMAL"), "off": ("OFF", "OFF")}


def _attempt(connection: sqlite3.Connection, job: _Job) -> None:
    connection.execute("SAVEPOINT job")
    try:
        job.result = _drive(connection, job.work)
    except sqlite3.Error as error:
        if not connection.in_transaction:
            raise
        job.error = _translated(error)
    except Exception as error:
        job.error = error
    if job.error is not None:
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _drive(connection: sqlite3.Connection, work: Work[Result]) -> Result:
    try:
        statement, parameters = next(work)
        while True:
            rows = connection.execute(statement, parameters).fetchall()
            statement, parameters = work.send(rows)
    except StopIteration as end:
        result: Result = end.value
        return result


def _resolve(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _translated(error: sqlite3.Error) -> Exception:
    if getattr(error, "sqlite_errorname", "").startswith("SQLITE_FULL"):
        return disk_full()
    return error


def disk_full() -> OCIError:
    """What a client gets while the disk has no room."""
    return OCIError("UNKNOWN", "the registry's disk is full: free some space, or delete and collect", status=507)
