"""Metadata in SQLite: the event loop and other threads read, and one thread writes, with group commit."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from ociserver.errors import OCIError
from ociserver.meter import Meter
from ociserver.store.checkpoint import Checkpointer
from ociserver.store.disk import sync_folder
from ociserver.store.errors import StoreError, damaged, of_database, of_disk
from ociserver.store.failpoint import reach
from ociserver.store.modes import PRIVATE, Modes
from ociserver.store.own_commits import OwnCommits
from ociserver.store.pages import CONVERT_BYTES, PAGE_SIZE, convert, count_free, take_out
from ociserver.store.process_lock import ProcessLock
from ociserver.store.schema import REGISTRY, Migration, Schema
from ociserver.store.sqlite_writer import LOCK_WAIT_S, SYNCHRONOUS, Durability, SQLiteWriter
from ociserver.store.transaction import LeaseHeldError, Row, Transaction, drive
from ociserver.store.wal_index import WalIndex

__all__ = ["Durability", "SQLite", "run_migration"]

Result = TypeVar("Result")

WAL_PAGES: Final = 4_000
"""Pages of 4 KiB after which the log is copied back: 16 MiB, so that the two extra syncs are rare."""

MAX_LOG_AT_RESTART: Final = WAL_PAGES * (PAGE_SIZE + 24)
"""Bytes to which the log file is truncated when a writer restarts it. A frame has a page and 24 more bytes."""

READER_WAIT_S: Final = 0.1
"""Seconds that a read waits for another program that has locked the database. A read blocks the event loop, so it waits
only for a moment. It never waits for our own writers."""

READER_CACHE_KIB: Final = 8192
"""KiB of database pages that the reading connection caches until the next commit. In a list of a thousand referrers,
each row is on another page. SQLite's default of 2 MiB could not hold them, so a long list took twice as long to read as
a short one."""

APART_WAIT_S: Final = 1.0
"""Seconds that a read over a connection of its own waits for a program that has locked the database."""

START_WAIT_S: Final = 30.0
"""Seconds that a start waits for another process, which may be running migrations."""

_TYPES: Final = {
    "identity": "INTEGER PRIMARY KEY",
    "bytes": "BLOB",
    "text": "TEXT",
    "json": "TEXT",
    "without_rowid": " WITHOUT ROWID",
    "and_id": "",
    "and_link": "",
}
_MINIMUM: Final = (3, 35, 0)


class SQLite:
    """One database file. Any number of processes may use it.

    Group commit: while one group is synced, the next transactions wait in a queue. Then they share one commit and
    one sync (`SQLiteWriter`).

    Args:
        path: of the database file.
        durability: `full` syncs every durable commit; `normal` leaves that to checkpoints; `off` never syncs.
        modes: permissions of the files.
        schema: the tables. `open` runs the migrations that an older file needs.
        lock_wait_s: seconds that a write waits for other processes, ours and others that have locked the database,
            before it is refused with 503.
        convert_bytes: the most bytes in a file of an older version that is rewritten when it is opened, so that free
            pages can be removed from it.
        meter: is told of commits.
    """

    def __init__(
        self,
        path: Path,
        durability: Durability = "full",
        modes: Modes = PRIVATE,
        schema: Schema = REGISTRY,
        *,
        lock_wait_s: float = LOCK_WAIT_S,
        convert_bytes: int = CONVERT_BYTES,
        meter: Meter | None = None,
    ) -> None:
        self._path = path
        self._lock_wait_s = lock_wait_s
        self._convert_bytes = convert_bytes
        self._durability = durability
        self._meter = meter
        self._modes = modes
        self._schema = schema
        self._lock_path = path.with_suffix(".lock")
        self._lock: ProcessLock | None = None
        self._writing: SQLiteWriter | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        # For large reads. Only the thread for large reads uses it.
        self._aside: sqlite3.Connection | None = None
        self._large_reads: ThreadPoolExecutor | None = None
        # For `read_nowait`, in the thread that has the lock. The event loop has its own connection and needs no lock.
        self._nowait_connection: sqlite3.Connection | None = None
        self._nowait_lock = threading.Lock()
        self._home = 0
        self._checkpointer: Checkpointer | None = None
        self._index: WalIndex | None = None
        self._commits = OwnCommits()

    async def open(self) -> None:
        self._home = threading.get_ident()
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            await asyncio.shield(opening)
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise StoreError(self._refusal(error)) from error
        except BaseException:
            if not opening.done():
                # Cancelled. The thread continues, but need not wait for another process any more.
                if self._lock is not None:
                    self._lock.close()
                await asyncio.wait([opening])
                opening.exception()  # retrieved, so that asyncio does not log it
            await self.close()
            raise
        self._large_reads = ThreadPoolExecutor(1, "ociserver-reader")
        assert self._writer is not None
        assert self._lock is not None
        self._writing = SQLiteWriter(
            self._writer,
            self._lock,
            self._durability,
            str(self._path),
            lock_wait_s=self._lock_wait_s,
            commits=self._commits,
            meter=self._meter,
        )
        self._writing.start()

    async def close(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing.stop()
        large_reads, self._large_reads = self._large_reads, None
        if large_reads is not None:
            await asyncio.to_thread(large_reads.shutdown, cancel_futures=True)
        checkpointer, self._checkpointer = self._checkpointer, None
        if checkpointer is not None:
            await asyncio.to_thread(checkpointer.close)
        # No read without waiting starts after this. The lock is free when the last one has ended.
        nowait, self._nowait_connection = self._nowait_connection, None
        with self._nowait_lock:
            for connection in (self._writer, self._reader, self._aside, nowait):
                if connection is not None:
                    connection.close()
        self._writer = self._reader = self._aside = None
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def unavailable(self) -> str | None:
        return None if self._writing is None else self._writing.unavailable

    async def read(self, transaction: Transaction[Result]) -> Result:
        if self._reader is None:
            raise RuntimeError("the store is not open")
        try:
            return drive(self._reader, transaction)
        except sqlite3.Error as error:
            raise of_database(error) from None

    async def read_aside(self, transaction: Transaction[Result]) -> Result:
        if self._aside is None or self._large_reads is None:
            raise RuntimeError("the store is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._large_reads, drive, self._aside, transaction)
        except sqlite3.Error as error:
            raise of_database(error) from None

    def read_apart(self, transaction: Transaction[Result]) -> Result:
        url = f"{self._path.absolute().as_uri()}?mode=ro"
        try:
            connection = sqlite3.connect(url, uri=True, timeout=APART_WAIT_S, isolation_level=None)
            with contextlib.closing(connection):
                return drive(connection, transaction)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} cannot be read: {error}") from error

    def read_nowait(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        connection = self._nowait_connection
        # The event loop would only ask a second time: it calls `read` next.
        if connection is None or threading.get_ident() == self._home or not self._nowait_lock.acquire(blocking=False):
            return None
        try:
            if connection is not self._nowait_connection:
                return None  # closed before this thread had the lock
            return connection.execute(statement, parameters).fetchall()
        except sqlite3.Error:
            return None
        finally:
            self._nowait_lock.release()

    def write(
        self, make: Callable[[], Transaction[Result]], *, durable: bool = True, check: Callable[[], None] | None = None
    ) -> Coroutine[Any, Any, Result]:
        if self._writing is None:
            raise RuntimeError("the store is not open")
        return self._writing.write(make, durable=durable, check=check)

    def now(self) -> float:
        return time.time()

    @contextlib.asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[None]:
        # A lock on a file beside the database, which ends with the process.
        fd = os.open(self._path.parent / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._modes.file)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LeaseHeldError(name) from None
            yield
        finally:
            os.close(fd)

    async def problems(self) -> list[str]:
        def check() -> Transaction[list[str]]:
            rows = yield "PRAGMA integrity_check(100)", ()
            return [str(row[0]) for row in rows if row[0] != "ok"]

        return await self.read(check())

    def owed(self) -> int:
        index = self._index
        size = 0 if index is None else index.database_size()
        try:
            # 0 if nothing was committed since the log was created: then the file has everything.
            return size - os.stat(self._path).st_size if size else 0
        except OSError:
            return 0

    def log_size(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except OSError:
            return 0

    async def shrink_log(self) -> bool:
        checkpointer = self._checkpointer
        if checkpointer is None:
            return False
        try:
            return await asyncio.to_thread(checkpointer.run)
        except sqlite3.Error as error:
            raise of_database(error) from None

    async def count_free(self) -> int:
        return await self.read(count_free())

    async def take_out(self, pages: int) -> None:
        await self.write(lambda: take_out(pages), durable=False)

    def version(self) -> bytes | None:
        index = self._index  # read once: another thread may be closing it
        return None if index is None else index.header()

    def epoch(self) -> int | None:
        return self._commits.epoch()

    @property
    def cache_manifests_s(self) -> float:
        return 0  # `version` tells when to look again

    def settle(self) -> None:
        # With `full`, each such commit was synced already. With `off`, nothing is synced.
        if self._durability == "normal":
            fd = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            sync_folder(self._path.parent)

    def _open(self) -> None:
        if sqlite3.sqlite_version_info < _MINIMUM:
            needed = ".".join(map(str, _MINIMUM))
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: use a Python with SQLite {needed} or later")
        # The writers of several processes queue for this lock, which is fair. SQLite's own busy handler polls.
        lock = self._lock = ProcessLock(self._lock_path, self._modes.file)
        if not lock.acquire_within(START_WAIT_S):
            raise StoreError(
                f"{self._path}: another process has held the lock for {START_WAIT_S:g} seconds. Find the process with "
                f"`fuser -v {self._lock_path}`, then continue or end it"
            )
        try:
            self._connect_all()
        finally:
            lock.release()
        self._index = WalIndex.of(self._path)
        self._commits.open(self._index)

    def _connect_all(self) -> None:
        # SQLite would make the file readable for all. The log and its index get the permissions of the database.
        self._modes.make_file(self._path)
        # Under the lock: while SQLite turns a new database into WAL mode, it refuses other connections at once.
        self._writer = self._connect(self._lock_wait_s)
        self._migrate(self._writer)
        convert(self._writer, self._path, self._convert_bytes)
        self._reader = self._connect(READER_WAIT_S)
        self._nowait_connection = self._connect(READER_WAIT_S)
        self._aside = self._connect(self._lock_wait_s)
        checkpointing = self._connect(self._lock_wait_s)
        self._checkpointer = Checkpointer(checkpointing, ProcessLock(self._lock_path, self._modes.file))
        self._aside.execute("PRAGMA query_only = ON")
        self._nowait_connection.execute("PRAGMA query_only = ON")
        self._nowait_connection.execute("PRAGMA busy_timeout = 0")
        self._reader.execute("PRAGMA query_only = ON")
        self._reader.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")

    def _connect(self, wait_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=wait_s, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            if not os.stat(self._path).st_size:
                # Only for a new file. On an older one it has no effect, but takes space on the disk.
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(
                    f"{self._path}: SQLite cannot keep a write-ahead log on this file system. Network file systems do "
                    "not support that: use a local one"
                )
            connection.execute("PRAGMA foreign_keys = ON")
            # SQLite would keep the old pages of a statement or savepoint in a temporary file, to undo it. A container
            # with a read-only root has no folder for that, and a full disk has no space, not even for a deletion.
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit = {MAX_LOG_AT_RESTART}")
            connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[self._durability][False]}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        schema = self._schema
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > schema.version:
            raise StoreError(
                f"{self._path} was written by a newer ociserver (its tables are version {version}, this one knows "
                f"{schema.version}): upgrade ociserver, or serve another folder"
            )
        known = "SELECT COUNT(*) FROM sqlite_master WHERE name = ?"
        (tables,) = connection.execute(known, (schema.table,)).fetchone()
        (others,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if (version > 0 and not tables) or (version == 0 and others):
            raise StoreError(f"{self._path} is a database of another program: serve another folder")
        for number, steps in enumerate(schema.migrations[version:], start=version + 1):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            run_migration(connection, steps)
            connection.execute(f"PRAGMA user_version = {number}")
            reach("before migration")
            connection.execute("COMMIT")
            reach("after migration")

    def _refusal(self, error: sqlite3.Error | OSError) -> str:
        if isinstance(error, sqlite3.Error) and damaged(error):
            return (
                f"{self._path} is damaged ({error}): restore a backup of the folder, or move the folder away and let "
                f"clients push again. `sqlite3 {self._path.name} .recover` prints what can still be read"
            )
        known = of_disk(error) if isinstance(error, OSError) else of_database(error)
        return f"{self._path} cannot be opened: {known.message if isinstance(known, OCIError) else known}"


def run_migration(connection: sqlite3.Connection, steps: Migration) -> None:
    """Run the steps of a migration, as a part of the connection's current transaction if there is one."""
    for step in steps:
        if isinstance(step, str):
            connection.execute(step.format_map(_TYPES))
        else:
            drive(connection, step())
