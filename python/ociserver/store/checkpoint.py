"""Returns the space of SQLite's write-ahead log to the file system.

SQLite copies the log into the database file from time to time, and then writes the log from its beginning again, if no
reader needs it. But it does not truncate the log file. One long read makes the log grow, and the file stays that large.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import Final

from ociserver.store.process_lock import ProcessLock

__all__ = ["Checkpointer"]

TRIES: Final = 20
PAUSE_S: Final = 0.01
"""How often, and how many seconds apart, to try the lock of the processes that write."""


class Checkpointer:
    """Copies the log into the database and truncates it. Writers and readers wait only for the truncation.

    Args:
        connection: a connection that nobody else uses.
        lock: the lock of the processes that write, as a separate object. `close` closes it.
    """

    def __init__(self, connection: sqlite3.Connection, lock: ProcessLock) -> None:
        # It does not wait for others while it holds locks that they need.
        connection.execute("PRAGMA busy_timeout = 0")
        self._connection: sqlite3.Connection | None = connection
        self._lock = lock
        self._mutex = threading.Lock()

    def run(self) -> bool:
        """Copy the whole log, and truncate its file. This blocks.

        Returns:
            False if a reader or a busy writer prevented it: then at most a part of the log was copied.

        Raises:
            sqlite3.Error: the disk is full or has failed.
        """
        with self._mutex:
            # The copy may take long, so it takes no lock that readers or writers need.
            busy, pages, copied = self._checkpoint("PASSIVE")
            if busy or copied < pages or not self._acquire():
                return False
            try:
                busy, _, _ = self._checkpoint("TRUNCATE")
            finally:
                self._lock.release()
            return not busy

    def close(self) -> None:
        """Wait for a `run` in another thread, and disconnect."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._lock.close()

    def _checkpoint(self, mode: str) -> tuple[int, int, int]:
        if self._connection is None:
            return 1, 0, 0
        row: tuple[int, int, int] = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return row

    def _acquire(self) -> bool:
        for _ in range(TRIES):
            if self._lock.try_acquire():
                return True
            time.sleep(PAUSE_S)
        return False
