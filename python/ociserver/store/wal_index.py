"""Tells, by one comparison, whether anything was committed to a SQLite database since the last check.

In WAL mode, every commit of any process changes the header of the log's index before it returns. The index is a file
(`-shm`; https://sqlite.org/walformat.html, 2.2), which all these processes map. This module maps it too, to read it.
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
"""Fields of the header: the size of a page (1 for 64 KiB), and the number of pages after the last commit."""

HEADER_SIZE: Final = 96
"""Bytes of both copies of the header. If a writer is killed between them, the copies differ."""


class WalIndex:
    """The header of the index of one database, while a connection of this process is open.

    Closing a file releases every POSIX lock that the process has on it, including those of SQLite. So the file is
    opened once for all stores of the process, and closed when the last of them has closed its connections.
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
        """The index of a database to which a connection is open. None if the index cannot be mapped."""
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
        """The header, which differs after every commit; None once any thread has closed this."""
        try:
            return self._view[:HEADER_SIZE]
        except ValueError:
            return None

    def database_size(self) -> int:
        """Bytes of the database after the last commit in the log; 0 if there is none, or once this is closed."""
        header = self.header()
        if header is None:
            return 0
        page, count = PAGES.unpack_from(header)
        return int(count) * (65536 if page == 1 else int(page))

    def close(self) -> None:
        """Close the index. Call this after the connections are closed."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                del self._open[self._identity]
                self._view.close()
                os.close(self._fd)
