"""Metadata in SQLite: reads on the event loop or beside it, writes through one thread that commits many together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from ociserver.errors import OCIError
from ociserver.store.failpoint import reach
from ociserver.store.faults import StoreError, damaged, of_database, of_disk
from ociserver.store.group import Waiting
from ociserver.store.schema import REGISTRY, Schema
from ociserver.store.wal_index import WalIndex
from ociserver.store.work import Row, Work, drive
from ociserver.store.writer import sync_folder

__all__ = ["Durability", "SQLite"]

Result = TypeVar("Result")
Durability = Literal["full", "normal", "off"]

WAL_PAGES: Final = 4_000
"""Pages of 4 KiB after which the log is copied back: 16 MiB, so that its two extra syncs are rare."""

WRITER_WAIT_S: Final = 10.0
"""How long a write waits for another program that has locked the database, before it fails with 503."""

READER_WAIT_S: Final = 0.1
"""Likewise a read, which never waits for our own writers; it waits on the event loop, so only for a moment."""

READER_CACHE_KIB: Final = 8192
"""Of the database's pages, that the reading connection keeps until the next commit. The rows of a page of a thousand
referrers lie each on another; SQLite's own 2 MiB did not hold them, and a long list took twice as long to read as a
short one."""

START_WAIT_S: Final = 30.0
"""How long to wait for another process that is bringing the tables up to date."""

_TYPES: Final = {"identity": "INTEGER PRIMARY KEY", "bytes": "BLOB", "without_rowid": " WITHOUT ROWID"}
_MINIMUM: Final = (3, 35, 0)


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    durable: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def __str__(self) -> str:
        return str(getattr(self.work, "__name__", self.work))


class SQLite:
    """One database file, used by any number of processes.

    Group commit: while one transaction is being synced the next works wait in a queue, and then share
    one transaction and one sync. Each has a savepoint of its own, so an error undoes it alone.

    Args:
        path: of the database file.
        durability: `full` syncs every durable commit; `normal` leaves that to checkpoints; `off` never syncs.
        schema: the tables, which are brought up to date when it is opened.
    """

    def __init__(self, path: Path, durability: Durability = "full", schema: Schema = REGISTRY) -> None:
        self._path = path
        self._durability = durability
        self._schema = schema
        self._jobs: Waiting[_Job] = Waiting()
        self._thread: threading.Thread | None = None
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        # For large reads; of its thread alone.
        self._aside: sqlite3.Connection | None = None
        self._large_reads: ThreadPoolExecutor | None = None
        # For whoever has the lock; of its own, so that the loop needs none to read.
        self._glancer: sqlite3.Connection | None = None
        self._glancing = threading.Lock()
        self._home = 0
        self._index: WalIndex | None = None
        self._lock = -1

    async def open(self) -> None:
        self._home = threading.get_ident()
        try:
            await asyncio.to_thread(self._open)
        except (sqlite3.Error, OSError) as error:
            await self.close()
            raise StoreError(self._refusal(error)) from error
        except BaseException:
            await self.close()
            raise
        self._large_reads = ThreadPoolExecutor(1, "ociserver-reader")
        self._thread = threading.Thread(target=self._run, name="ociserver-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        # Taken away first: what comes after the end of the queue would wait for ever.
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.end()
            await asyncio.to_thread(thread.join)
        large_reads, self._large_reads = self._large_reads, None
        if large_reads is not None:
            await asyncio.to_thread(large_reads.shutdown, cancel_futures=True)
        # Likewise: then at most one glance is under way, and the lock is to be had when it has ended.
        glancer, self._glancer = self._glancer, None
        with self._glancing:
            for connection in (self._writer, self._reader, self._aside, glancer):
                if connection is not None:
                    connection.close()
        self._writer = self._reader = self._aside = None
        if self._index is not None:
            self._index.close()
            self._index = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def read(self, work: Work[Result]) -> Result:
        if self._reader is None:
            raise RuntimeError("the store is not open")
        try:
            return drive(self._reader, work)
        except sqlite3.Error as error:
            raise of_database(error) from None

    async def read_aside(self, work: Work[Result]) -> Result:
        if self._aside is None or self._large_reads is None:
            raise RuntimeError("the store is not open")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._large_reads, drive, self._aside, work)
        except sqlite3.Error as error:
            raise of_database(error) from None

    def glance(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        glancer = self._glancer
        # On the loop `read` comes next, and would ask a second time for what is not there.
        if glancer is None or threading.get_ident() == self._home or not self._glancing.acquire(blocking=False):
            return None
        try:
            # Unless it was closed before the lock was there.
            return glancer.execute(statement, parameters).fetchall() if glancer is self._glancer else None
        except sqlite3.Error:
            return None
        finally:
            self._glancing.release()

    async def write(self, work: Work[Result], *, durable: bool = True) -> Result:
        if self._thread is None:
            raise RuntimeError("the store is not open")
        loop = asyncio.get_running_loop()
        job = _Job(work, durable, loop, loop.create_future())
        self._jobs.put(job)
        try:
            # A caller that is cancelled does not undo what the writer has begun, or will begin.
            result: Result = await asyncio.shield(job.future)
        except asyncio.CancelledError:
            # However often: what it holds, as the lock on the file that the work is about, nobody else may have before.
            while not job.future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([job.future])
            raise
        return result

    async def problems(self) -> list[str]:
        def check() -> Work[list[str]]:
            rows = yield "PRAGMA integrity_check(100)", ()
            return [str(row[0]) for row in rows if row[0] != "ok"]

        return await self.read(check())

    def version(self) -> bytes | None:
        index = self._index  # once: another thread may be closing it
        return None if index is None else index.header()

    def settle(self) -> None:
        """Have every commit survive a power cut that a deletion of files counts on. Blocks.

        With `full` each such commit was synced by itself, and with `off` nothing is.
        """
        if self._durability == "normal":
            fd = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            sync_folder(self._path.parent)

    @property
    def _lock_path(self) -> Path:
        return self._path.with_suffix(".lock")

    def _open(self) -> None:
        if sqlite3.sqlite_version_info < _MINIMUM:
            raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: {'.'.join(map(str, _MINIMUM))} is needed")
        # Writers of several processes queue on this file, which is fair; SQLite's own busy handler polls.
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # Connecting too: while a new database becomes one with a log, SQLite refuses others without waiting.
        with self._locked_for_start():
            self._writer = self._connect(WRITER_WAIT_S)
            self._migrate(self._writer)
            self._reader = self._connect(READER_WAIT_S)
            self._glancer = self._connect(READER_WAIT_S)
            self._aside = self._connect(WRITER_WAIT_S)
        self._aside.execute("PRAGMA query_only = ON")
        self._glancer.execute("PRAGMA query_only = ON")
        self._glancer.execute("PRAGMA busy_timeout = 0")
        self._reader.execute("PRAGMA query_only = ON")
        self._reader.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        self._index = WalIndex.of(self._path)

    def _connect(self, wait_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=wait_s, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(
                    f"{self._path}: this file system does not let SQLite keep a write-ahead log (network file "
                    "systems do not); use a local one"
                )
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
            connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability][False]}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _locked_for_start(self) -> Iterator[None]:
        deadline = time.monotonic() + START_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"{self._path}: another process has been writing for {START_WAIT_S:g} seconds; "
                        f"see who has {self._lock_path.name} open, and end or wait for it"
                    ) from None
                time.sleep(0.01)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

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
        if version == 0 and tables:
            version = schema.unversioned
        if (version > 0 and not tables) or (version == 0 and others):
            raise StoreError(f"{self._path} is a database of another program: serve another folder")
        for number, steps in enumerate(schema.migrations[version:], start=version + 1):
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for step in steps:
                if isinstance(step, str):
                    connection.execute(step.format_map(_TYPES))
                else:
                    drive(connection, step())
            connection.execute(f"PRAGMA user_version = {number}")
            reach("before migration")
            connection.execute("COMMIT")
            reach("after migration")

    def _refusal(self, error: sqlite3.Error | OSError) -> str:
        if isinstance(error, sqlite3.Error) and damaged(error):
            return (
                f"{self._path} is damaged ({error}): put back a backup of the folder, or move the folder away and "
                f"let clients push again; `sqlite3 {self._path.name} .recover` saves what can be read of it"
            )
        known = of_disk(error) if isinstance(error, OSError) else of_database(error)
        return f"{self._path} cannot be opened: {known.message if isinstance(known, OCIError) else known}"

    def _run(self) -> None:
        assert self._writer is not None
        synchronous = ""
        last = False
        while not last:
            batch, last = self._jobs.next_group()
            wanted = _SYNCHRONOUS[self._durability][any(job.durable for job in batch)]
            try:
                if wanted != synchronous:
                    self._writer.execute(f"PRAGMA synchronous = {wanted}")
                    synchronous = wanted
                self._commit(self._writer, batch)
            except Exception as error:
                # The transaction itself failed (a full disk, an I/O error): nobody's work is there, and
                # whoever failed by itself may have failed by a neighbour's work.
                for job in batch:
                    job.error = _error_of(error)
            for loop in {job.loop for job in batch}:
                with contextlib.suppress(RuntimeError):  # a loop that has been closed waits for nothing
                    loop.call_soon_threadsafe(_resolve, [job for job in batch if job.loop is loop])

    def _commit(self, connection: sqlite3.Connection, batch: list[_Job]) -> None:
        if not batch:
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            connection.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:
                # By itself it needs no savepoint: what undoes it is the transaction.
                batch[0].result = drive(connection, batch[0].work)
            else:
                for job in batch:
                    _attempt(connection, job)
            reach("before commit of", batch)
            connection.execute("COMMIT")
            reach("after commit of", batch)
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


_SYNCHRONOUS: Final = {"full": ("NORMAL", "FULL"), "normal": ("NORMAL", "NORMAL"), "off": ("OFF", "OFF")}


def _attempt(connection: sqlite3.Connection, job: _Job) -> None:
    connection.execute("SAVEPOINT job")
    try:
        job.result = drive(connection, job.work)
    except Exception as error:
        if not connection.in_transaction:
            raise
        job.error = _error_of(error)
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _resolve(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _error_of(error: Exception) -> Exception:
    """A new error for each caller: raised by many, one would gather the tracebacks of all."""
    known = error
    if isinstance(error, sqlite3.Error):
        known = of_database(error)
        if known is error:
            return type(error)(*error.args).with_traceback(error.__traceback__)
    elif isinstance(error, OSError):
        known = of_disk(error)
    return known
