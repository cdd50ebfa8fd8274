"""Takes over the index that earlier versions kept in a file of its own, `cache.db`."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from ociserver.compose.cache import queries
from ociserver.compose.cache.queries import Content
from ociserver.store import Store, StoreError
from ociserver.store.transaction import Transaction

__all__ = ["take_over"]

FILE: Final = "cache.db"
"""The name of the file, in the folder of a store."""

_FILES: Final = (FILE, "cache.db-wal", "cache.db-shm", "cache.lock")

Owned = tuple[str, str]
Entry = tuple[Content, list[str], int, float]


async def take_over(store: Store) -> None:
    """Move what `cache.db` has into the store's database, and delete the file. If it is interrupted, it is repeated.

    The times when tags were checked are not moved: upstream is asked again. The first version of the file has no sizes
    that could be used, so `accounts.adopt` counts what is there.

    Args:
        store: an open store. The caller keeps other processes from doing this at the same time.

    Raises:
        StoreError: the file cannot be read.
    """
    if not store.has_folder or not (store.path / FILE).exists():
        return
    path = store.path / FILE
    try:
        owners, entries = await asyncio.to_thread(_read, path)
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}, in which an earlier version has recorded what a cache keeps, cannot be read ({error}). Restore "
            "it from a backup, or move the folder away and let the cache fetch everything again"
        ) from error
    await store.upkeep.free(partial(_write, owners, entries))
    for name in _FILES:
        (store.path / name).unlink(missing_ok=True)


def _read(path: Path) -> tuple[list[Owned], list[Entry]]:
    # Not read-only: the log of a killed process is applied first.
    url = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(url, uri=True)) as connection:
        owners = connection.execute("SELECT name, owner FROM repository").fetchall()
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'kept'").fetchall():
            return owners, []
        found: dict[int, Entry] = {}
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT k.id, k.kind, k.digest, k.repository, k.size, k.used, i.repository"
            " FROM kept k JOIN kept_in i ON i.kept_id = k.id"
        ).fetchall()
        for number, kind, digest, repository, size, used, name in rows:
            entry = found.setdefault(number, (Content(kind, digest, repository), [], size, used))
            entry[1].append(name)
        return owners, list(found.values())


def _write(owners: Sequence[Owned], entries: Sequence[Entry]) -> Transaction[None]:
    for owned in owners:
        yield "INSERT INTO cache_repositories (name, owner) VALUES (?, ?) ON CONFLICT DO NOTHING", owned
    for content, repositories, size, used in entries:
        yield from queries.add(content, repositories, size, used, 0)
