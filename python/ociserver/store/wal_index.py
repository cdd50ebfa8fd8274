"""Whether anything was committed to a SQLite database since it was last looked at, for the price of a comparison.

In WAL mode every commit, of any process, changes the header of the index of the log before it returns. The
index is a file that all of them map (`-shm`; https://sqlite.org/walformat.html, 2.2); so do we, to read.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path
from typing import Final, Self

__all__ = ["WalIndex"]

PAGES: Final = struct.Struct("=14xH4xI")
"""In the header: the size of a page (1 for 64 KiB), and of how many the database is after the last commit."""

HEADER_SIZE: Final = 96
"""Both copies of the header: a writer that is killed between them leaves two that differ."""


class WalIndex:
    """The header of one database's index, as long as a connection of this process is open.

    Closing a file drops every POSIX lock that the process has on it, those of SQLite too. So a file is opened
    once for all stores of the process, and closed when the last of them has closed its connections.
    """

    _lock: Final = threading.Lock()
    _open: Final[dict[tuple[int, int], Self]] = {}  # type: ignore[misc]

    def __init__(self, identity: tuple[int, int], fd: int) -> None:
        self._identity = identity
        self._view = mmap.mmap(fd, HEADER_SIZE, prot=mmap.PROT_READ)
        self._fd = fd
        self._users = 0

    @classmethod
    def of(cls, database: Path) -> Self | None:
        """Of a database that a connection is open to. None where it cannot be mapped."""
        path = f"{database}-shm"
        with cls._lock:
            try:
                status = os.stat(path)
                identity = status.st_dev, status.st_ino
                index = cls._open.get(identity)
                if index is None:
                    index = cls._open[identity] = cls(identity, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except (OSError, ValueError):
                return None
            index._users += 1
            return index

    def header(self) -> bytes | None:
        """What differs after every commit; None once it is closed, by whichever thread."""
        try:
            return self._view[:HEADER_SIZE]
        except ValueError:
            return None

    def database_size(self) -> int:
        """Bytes of the database after the last commit, as far as that is in the log; 0 once it is closed."""
        header = self.header()
        if header is None:
            return 0
        page, count = PAGES.unpack_from(header)
        return int(count) * (65536 if page == 1 else int(page))

    def close(self) -> None:
        """To be called after the connections are closed."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                del self._open[self._identity]
                self._view.close()
                os.close(self._fd)
