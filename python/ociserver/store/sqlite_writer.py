"""The thread that writes to a SQLite database. Transactions wait in a queue, and many share one commit and one
sync.

Only the process that has the lock (`ProcessLock`) writes. The thread is idle, waits for the lock, or writes. Until it
has the lock, the transactions that it has taken from the queue are in `_batch`. If another process freezes while it
holds the lock, the watcher thread (`_watch`) refuses the transactions that wait, and all later ones, until the writer
thread gets the lock. Then the writer thread finds no transaction and releases the lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from ociserver.meter import Meter
from ociserver.store.errors import of_database, of_disk, unavailable
from ociserver.store.failpoint import reach
from ociserver.store.group_commit import GroupQueue
from ociserver.store.own_commits import OwnCommits
from ociserver.store.process_lock import ProcessLock
from ociserver.store.transaction import Transaction, drive

__all__ = ["LOCK_WAIT_S", "SYNCHRONOUS", "Durability", "SQLiteWriter"]

Result = TypeVar("Result")
Durability = Literal["full", "normal", "off"]

LOCK_WAIT_S: Final = 10.0
"""Seconds that a write waits for the lock of the processes. A transaction takes milliseconds, on a slow disk seconds: a
process that holds the lock for longer is frozen."""

WATCH_S: Final = 0.25
"""Seconds between two checks of the wait for the lock."""

CLOSE_WAIT_S: Final = 1.0
"""Seconds that `stop` waits for a process that has the lock, before it refuses the transactions that are left."""

SYNCHRONOUS: Final = {"full": ("NORMAL", "FULL"), "normal": ("NORMAL", "NORMAL"), "off": ("OFF", "OFF")}
"""`PRAGMA synchronous` for a transaction that need not survive a power cut, and for one that must."""

_STUCK: Final = "another process holds the lock of the registry's database and does not release it"

_log = logging.getLogger("ociserver")


@dataclass(slots=True)
class _Job:
    make: Callable[[], Transaction[Any]]
    durable: bool
    check: Callable[[], None] | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    """Done when the caller can continue: the transaction has ended, or the caller was cancelled."""
    has_ended: bool = False
    transaction: Transaction[Any] | None = None
    result: Any = None
    error: Exception | None = None

    def __str__(self) -> str:
        return str(getattr(self.transaction, "__name__", self.transaction))

    def run(self, connection: sqlite3.Connection) -> None:
        if self.check is not None:
            self.check()
        self.transaction = self.make()
        self.result = drive(connection, self.transaction)


class SQLiteWriter:
    """Writes through one connection, which nobody else uses.

    An error undoes only the transaction that has failed, and not the others of its group.

    Args:
        connection: in autocommit mode.
        lock: an open lock. `stop` closes it.
        durability: see `SQLite`.
        where: the path of the database, for messages.
        lock_wait_s: seconds that a transaction waits for other processes before it is refused with 503.
        commits: is told of commits, to tell them from those of other processes.
        meter: is told of commits.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: ProcessLock,
        durability: Durability,
        where: str,
        *,
        lock_wait_s: float,
        commits: OwnCommits,
        meter: Meter | None = None,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._durability = durability
        self._where = where
        self._lock_wait_s = lock_wait_s
        self._commits = commits
        self._meter = meter
        self._jobs: GroupQueue[_Job] = GroupQueue()
        # Transactions that wait for the lock. The thread that takes them out, under the mutex, has to answer them.
        self._batch: list[_Job] = []
        self._mutex = threading.Lock()
        self._is_stuck = False
        self._accepts = True
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ociserver-writer", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="ociserver-watch", daemon=True)

    def start(self) -> None:
        """Start the threads."""
        self._thread.start()
        self._watcher.start()

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be written at present; None if, as far as is known, it can."""
        return _STUCK if self._is_stuck else None

    async def write(
        self, make: Callable[[], Transaction[Result]], *, durable: bool, check: Callable[[], None] | None = None
    ) -> Result:
        """`Metadata.write`, without another try.

        Raises:
            OCIError: 503 if another process holds the lock for too long.
        """
        if not self._accepts:
            raise RuntimeError("the store is not open")
        if self._is_stuck:
            raise unavailable(_STUCK, is_logged=True)
        loop = asyncio.get_running_loop()
        job = _Job(make, durable, check, loop, loop.create_future())
        self._jobs.put(job)
        try:
            result: Result = await job.future
        except asyncio.CancelledError:
            # The cancellation of a caller does not withdraw its transaction. The caller waits for it, even if it is
            # cancelled again: until it has ended, nobody else may get what the caller holds, such as the lock on the
            # file of an upload.
            while not job.has_ended:
                job.future = loop.create_future()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([job.future])
            if not job.future.cancelled():
                job.future.exception()  # retrieved, so that asyncio does not log it
            raise
        return result

    async def stop(self) -> None:
        """Write the transactions that were accepted, and end the threads. Afterwards nobody uses the connection."""
        self._accepts = False
        self._jobs.end()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        while self._thread.is_alive():
            self._thread.join(WATCH_S)
            # A frozen process must not keep this one alive.
            if (self._lock.waited_s() or 0) >= CLOSE_WAIT_S and self._refuse():
                break
        self._lock.close()
        self._stopped.set()
        self._watcher.join()

    def _run(self) -> None:
        synchronous = ""
        last = False
        while not last:
            batch, last = self._jobs.next_group()
            if not batch:
                continue
            with self._mutex:
                self._batch = batch
            began = time.monotonic() if self._meter else 0.0
            try:
                if not self._lock.acquire():
                    return
                batch = self._take_batch()
                wanted = SYNCHRONOUS[self._durability][any(job.durable for job in batch)]
                if batch and wanted != synchronous:
                    self._connection.execute(f"PRAGMA synchronous = {wanted}")
                    synchronous = wanted
                self._commit(batch)
                if batch and self._meter:
                    self._meter.committed(len(batch), time.monotonic() - began)
            except Exception as error:
                # The group itself failed (a full disk, an I/O error), so nothing is committed. All transactions get
                # this error, also one that failed by itself: another one may have caused that.
                for job in batch:
                    job.error = _error_of(error)
            finally:
                self._lock.release()
            _answer(batch)

    def _take_batch(self) -> list[_Job]:
        """The transactions to write, now that this thread has the lock."""
        with self._mutex:
            batch, self._batch = self._batch, []
            was_stuck, self._is_stuck = self._is_stuck, False
        if was_stuck:
            _log.warning("%s: the lock is free again; writes continue", self._where)
        return batch

    def _commit(self, batch: list[_Job]) -> None:
        if not batch:
            return
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._commits.begin()
            if not _run_together(connection, batch):
                connection.execute("ROLLBACK")
                connection.execute("BEGIN IMMEDIATE")
                for job in batch:
                    _run_apart(connection, job)
            reach("before commit of", batch)
            connection.execute("COMMIT")
            self._commits.end()
            reach("after commit of", batch)
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_S):
            if (self._lock.waited_s() or 0) >= self._lock_wait_s:
                self._refuse()

    def _refuse(self) -> bool:
        """Refuse all transactions that wait for the lock with 503. False if the writer thread has just acquired it."""
        with self._mutex:
            if self._lock.waited_s() is None:
                return False
            refused, self._batch = self._batch + self._jobs.drain(), []
            is_new, self._is_stuck = not self._is_stuck, True
        if is_new:
            _log.error(
                "%s: another process has held the lock for %.0f s; writes are refused until it releases it. Find the "
                "process with `fuser -v %s`, then continue or end it",
                self._where,
                self._lock.waited_s() or self._lock_wait_s,
                self._lock.path,
            )
        for job in refused:
            job.error = unavailable(_STUCK, is_logged=True)
        _answer(refused)
        return True


def _run_together(connection: sqlite3.Connection, batch: list[_Job]) -> bool:
    """Run transactions without savepoints, which would be nearly half of the statements of a group of small pushes.

    Returns:
        False if one has failed that may have changed something. Few do: for example, the commit of an upload whose
        content has a copy that is not checked yet (`UncheckedCopyError`).
    """
    for job in batch:
        changes = connection.total_changes
        try:
            job.run(connection)
        except Exception as error:
            # SQLite has undone everything, or there is nothing else to undo.
            if not connection.in_transaction or len(batch) == 1:
                raise
            # A statement that fails in a damaged page may leave a change that is not counted.
            if isinstance(error, sqlite3.Error) or connection.total_changes != changes:
                return False
            job.error = _error_of(error)
    return True


def _run_apart(connection: sqlite3.Connection, job: _Job) -> None:
    """Run a transaction in a savepoint. If it fails, only its own changes are undone."""
    job.error = None
    connection.execute("SAVEPOINT job")
    try:
        job.run(connection)
    except Exception as error:
        if not connection.in_transaction:
            raise
        job.error = _error_of(error)
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _answer(jobs: Iterable[_Job]) -> None:
    """Give the results to the callers, each on its event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, theirs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the event loop is closed, so nobody waits
            loop.call_soon_threadsafe(_resolve, theirs)


def _resolve(jobs: list[_Job]) -> None:
    for job in jobs:
        job.has_ended = True
        if job.future.done():
            continue  # the caller was cancelled
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _error_of(error: Exception) -> Exception:
    """A new error for each caller: an error that many callers raise would collect the tracebacks of all."""
    known = error
    if isinstance(error, sqlite3.Error):
        known = of_database(error)
        if known is error:
            return type(error)(*error.args).with_traceback(error.__traceback__)
    elif isinstance(error, OSError):
        known = of_disk(error)
    return known
