"""Giving the room of SQLite's write-ahead log back.

SQLite copies the log into the database's file now and then, and begins it anew when no reader needs it; its file stays
as long as it ever was. One reader that is open for long makes it grow without end, and it stays so.
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
"""How often, and how long apart, it is looked whether no transaction is under way just now."""


class Checkpointer:
    """Copies the log back and cuts its file, beside a writer and readers, who never wait for more than the cut.

    Args:
        connection: of its own.
        lock: of the processes that write, an object of its own. Closed by `close`.
    """

    def __init__(self, connection: sqlite3.Connection, lock: ProcessLock) -> None:
        # It waits for nobody while it holds what others need.
        connection.execute("PRAGMA busy_timeout = 0")
        self._connection: sqlite3.Connection | None = connection
        self._lock = lock
        self._mutex = threading.Lock()

    def run(self) -> bool:
        """Copy all of the log, and cut its file. Blocks.

        Returns:
            False if a reader, or a writer that does not pause, was in the way: then a part of it was copied at most.

        Raises:
            sqlite3.Error: the disk is full or has failed.
        """
        with self._mutex:
            # First without any lock that readers or writers need, for as long as it takes.
            busy, pages, copied = self._checkpoint("PASSIVE")
            if busy or copied < pages or not self._acquire():
                return False
            try:
                busy, _, _ = self._checkpoint("TRUNCATE")
            finally:
                self._lock.release()
            return not busy

    def close(self) -> None:
        """Wait for what is under way, and disconnect."""
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
