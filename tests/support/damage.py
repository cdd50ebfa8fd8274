"""Damage of a database file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["spoil", "spoil_tables"]

PAGE = 4096
"""Bytes of a page of a database of SQLite."""


def spoil(path: Path, start: int, stop: int | None = None) -> None:
    """Overwrite a part of a file."""
    content = bytearray(path.read_bytes())
    stop = len(content) if stop is None else stop
    content[start:stop] = os.urandom(stop - start)
    path.write_bytes(content)


def spoil_tables(path: Path) -> None:
    """Overwrite the first page of each table and index, but not the schema, without which nothing can be opened."""
    with closing(sqlite3.connect(path)) as database:
        pages = [page for (page,) in database.execute("SELECT rootpage FROM sqlite_master WHERE rootpage > 1")]
    for page in pages:
        spoil(path, (page - 1) * PAGE, page * PAGE)
