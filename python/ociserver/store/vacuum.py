"""Pages of a SQLite file that nothing uses: how many there are, and how they are taken out of the file.

https://sqlite.org/pragma.html#pragma_incremental_vacuum: for each page the last one of the file takes the place of a
free one. The file itself gets shorter when its log is copied back.
"""

from __future__ import annotations

from typing import Final

from ociserver.store.work import Work

__all__ = ["PAGE_SIZE", "free_pages", "vacuum"]

PAGE_SIZE: Final = 4096
"""Bytes, SQLite's default."""

_INCREMENTAL: Final = 2


def free_pages() -> Work[int]:
    """How many pages `vacuum` could take out; 0 for a file that was made without `auto_vacuum`."""
    ((mode,),) = yield "PRAGMA auto_vacuum", ()
    ((count,),) = yield "PRAGMA freelist_count", ()
    return int(count) if mode == _INCREMENTAL else 0


def vacuum(pages: int) -> Work[None]:
    """Take out so many pages, if there are as many."""
    for _ in range(pages):
        # One by one: Python's module runs this statement for one page only, whatever number it has.
        yield "PRAGMA incremental_vacuum(1)", ()
