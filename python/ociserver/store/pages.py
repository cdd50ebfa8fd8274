"""Free pages of a SQLite file: counts them, and removes them from the file.

https://sqlite.org/pragma.html#pragma_incremental_vacuum: for each removed page, the last page of the file is moved to
the place of a free one. The file gets shorter when its log is copied back.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Final

from ociserver.store.transaction import Transaction

__all__ = ["CONVERT_BYTES", "PAGE_SIZE", "convert", "count_free", "take_out"]

PAGE_SIZE: Final = 4096
"""Bytes of a page, SQLite's default."""

CONVERT_BYTES: Final = 16 * 1024 * 1024
"""The most bytes in a file that is converted when it is opened. The conversion takes less than a second, during which
nobody else can write. 98 MB took four seconds."""

CONVERT_ROOM: Final = 4
"""How many times as many bytes must be free on the disk: for the log, for the file, and for others."""

_INCREMENTAL: Final = 2

_log = logging.getLogger("ociserver")


def count_free() -> Transaction[int]:
    """How many pages `take_out` could remove; 0 for a file that was created without `auto_vacuum`."""
    ((mode,),) = yield "PRAGMA auto_vacuum", ()
    ((count,),) = yield "PRAGMA freelist_count", ()
    return int(count) if mode == _INCREMENTAL else 0


def take_out(pages: int) -> Transaction[None]:
    """Remove this many free pages from the file, or all if there are fewer."""
    for _ in range(pages):
        # One by one: Python's module runs this statement for one page only, even with a larger number.
        yield "PRAGMA incremental_vacuum(1)", ()


def convert(connection: sqlite3.Connection, path: Path, most: int) -> None:
    """Rewrite a file that was created without `auto_vacuum`, unless it is so large that this takes long.

    SQLite writes the whole file into the log, in one transaction. So the file is always either the old or the new one.

    Args:
        connection: to the file, without a transaction. No other connection may write.
        path: of the file.
        most: the most bytes in a file that is rewritten.
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
        # For example, the disk is full by now.
        _log.warning("%s cannot be converted to return free space to the disk; it is unchanged: %s", path, error)
