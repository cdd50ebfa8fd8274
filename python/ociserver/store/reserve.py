"""Room on the disk that is kept for making room: deleting writes too, and on a full disk could not."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["Reserve"]

SIZE: Final = 4 * 1024 * 1024
"""Enough for the log of a thousand deletions, which collection turns into free files as it goes."""

START_BYTES: Final = 256 * 1024
"""What opening the database takes: its log, and the log's index."""


class Reserve:
    """A file that is in the way of everybody else, until it is given up.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def give_up(self) -> None:
        """Let what deletes have the room; nothing happens where it is gone already."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def give_up_to_start(self) -> None:
        """Likewise, if there is not even the room to open the database."""
        with contextlib.suppress(OSError):
            if self._free() < START_BYTES:
                self._path.unlink(missing_ok=True)

    def fill(self) -> None:
        """Keep the room again, where there is room enough for others too."""
        with contextlib.suppress(OSError):
            if self._path.exists() or self._free() < 2 * SIZE:
                return
            with self._path.open("xb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, SIZE)
                else:
                    file.write(bytes(SIZE))

    def _free(self) -> int:
        status = os.statvfs(self._path.parent)
        return status.f_bavail * status.f_frsize
