"""Looking into a store's folder, past the store."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from ociserver.store import Store
from tests.support.aging import age_files


def rows(store: Store, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement on the database file, on a connection of its own."""
    with closing(sqlite3.connect(store.path / "registry.db", isolation_level=None)) as connection:
        return connection.execute(statement, parameters).fetchall()


def files(store: Store) -> dict[str, Path]:
    """Every file of the blob part, by key."""
    return {path.name: path for path in sorted((store.path / "blobs").glob("*/*"))}


def file_of(store: Store, digest: str) -> Path:
    """The file of a blob that is in one."""
    ((key,),) = rows(store, "SELECT key FROM copies WHERE digest = ?", digest)
    return store.blob_folder.path(key)


def age(store: Store, seconds: float, *tables: str) -> None:
    """Make everything that is dated look older."""
    columns = {"links": "renewed", "copies": "idle_since", "manifests": "renewed", "uploads": "touched"}
    for table in tables or columns:
        column = columns[table]
        rows(store, f"UPDATE {table} SET {column} = {column} - ? WHERE {column} IS NOT NULL", int(seconds))  # noqa: S608
    if "uploads" in (tables or columns):
        age_files(store.path, seconds)


def open_files(folder: Path) -> dict[int, str]:
    """Files below a folder that this process has open, including deleted ones, without those of the database."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue
        if target.startswith(f"{folder}/blobs/"):
            found[int(entry)] = target
    return found
