"""Pages of a SQLite file that nothing uses: how many there are, and how they are taken out of the file.

https://sqlite.org/pragma.html#pragma_incremental_vacuum: for each page the last one of the file takes the place of a
free one. The file itself gets shorter when its log is copied back.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

from ociserver.store.work import Work

__all__ = ["CONVERT_BYTES", "PAGE_SIZE", "convert", "count_free", "take_out"]

PAGE_SIZE: Final = 4096
"""Bytes, SQLite's default."""

CONVERT_BYTES: Final = 16 * 1024 * 1024
"""How much a file may hold to be rewritten when it is opened: that takes less than a second, in which nobody else can
write. 98 MB took four."""

CONVERT_ROOM: Final = 4
"""How many times as much must be free on the disk: for the log, for the file, and for others."""

_INCREMENTAL: Final = 2

_log = logging.getLogger("ociserver")


def count_free() -> Work[int]:
    """How many pages `take_out` could take out; 0 for a file that was made without `auto_vacuum`."""
    ((mode,),) = yield "PRAGMA auto_vacuum", ()
    ((count,),) = yield "PRAGMA freelist_count", ()
    return int(count) if mode == _INCREMENTAL else 0


def take_out(pages: int) -> Work[None]:
    """Take out so many pages, if there are as many."""
    for _ in range(pages):
        # One by one: Python's module runs this statement for one page only, whatever number it has.
        yield "PRAGMA incremental_vacuum(1)", ()


def convert(connection: sqlite3.Connection, path: Path, most: int) -> None:
    """Rewrite a file that was made without `auto_vacuum`, if that takes a moment only; else leave it as it is.

    SQLite writes all of it into the log, in one transaction: whatever happens, the file is either the old or the new.

    Args:
        connection: to it, with nothing under way; nobody else writes.
        path: of the file.
        most: bytes that it may hold.
    """
    (mode,) = connection.execute("PRAGMA auto_vacuum").fetchone()
    if mode == _INCREMENTAL:
        return
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    size = (pages - free) * PAGE_SIZE
    status = os.statvfs(path.parent)
    if size > most or status.f_bavail * status.f_frsize < CONVERT_ROOM * size:
        return
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("VACUUM")
    except sqlite3.Error as error:
        # For example, the disk of SQLite's temporary files is full.
        _log.warning("%s cannot be converted to return free space to the disk; it is unchanged: %s", path, error)
