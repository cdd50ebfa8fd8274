"""Checks, before anything is written to a folder, whether it is empty, a store, or the folder of another program.

The data of another registry must not be treated as an empty folder: the server would start without any image, beside
all of them. A store is recognised by the names that it writes. Names that a new volume has (`lost+found`, names that
begin with a dot) are ignored.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ociserver.store.errors import StoreError

__all__ = [
    "BACKUP_MARKER",
    "BLOBS",
    "COLLECTION",
    "COLLECTION_LOCK",
    "DATABASE",
    "IN_BUCKET",
    "TOKEN_KEY",
    "check_folder",
]

DATABASE: Final = "registry.db"
BLOBS: Final = "blobs"
COLLECTION: Final = "collect"
"""The lease that a collection has."""

COLLECTION_LOCK: Final = f"{COLLECTION}.lock"
"""A collection holds it, and a backup while no collection may begin."""

BACKUP_MARKER: Final = ".ociserver-backup.json"
"""The file that makes a folder a backup."""

TOKEN_KEY: Final = "token.key"  # noqa: S105  (a name)
"""The key of tokens, which a server with users keeps here unless its configuration has one."""

IN_BUCKET: Final = "in-bucket"
"""The file that says that the contents of this store are in a bucket."""

OURS: Final = frozenset(
    {
        DATABASE,
        # SQLite keeps these beside the database while it is open. A killed process leaves them behind.
        f"{DATABASE}-journal",
        f"{DATABASE}-wal",
        f"{DATABASE}-shm",
        "registry.lock",
        "registry.reserve",
        "server.lock",
        COLLECTION_LOCK,
        TOKEN_KEY,
        BLOBS,
        IN_BUCKET,
    }
)
"""Names that a store writes, or a server before it opens the store."""

MAX_LOOKED_AT: Final = 1_000
"""Entries that are read to find out what a folder looks like."""

SHOWN: Final = 3
"""Names that a message shows of a folder that looks like nothing known."""

_FAN: Final = re.compile(r"[0-9a-f]{2}", re.ASCII)
_LAYOUT: Final = "oci-layout"
_ZOT: Final = frozenset({"cache.db", "meta.db", "_trivy", "_blobstore", "_restore_complete"})
"""Names that zot has beside its repositories. olareg has none there."""

_COPY: Final = (
    "run that registry on another port and copy each of its repositories with "
    "`ociserver copy --all-tags OLD:PORT/NAME NEW:PORT/NAME`, or with `skopeo sync`"
)
_SKOPEO: Final = "copy each tag with `skopeo copy oci:DIR:TAG docker://NEW:PORT/NAME:TAG`"


def check_folder(path: Path) -> None:
    """Check that a store may use a folder, which need not exist yet. This writes nothing.

    Raises:
        StoreError: another program uses the folder, or it is not a folder. The message says what it looks like, and
            what to do.
        OSError: the folder cannot be read.
    """
    _refuse_dangling(path)
    if os.path.lexists(path / DATABASE):
        # With the database of a store, the other files do not matter.
        _refuse_other_database(path / DATABASE)
        return
    if os.path.lexists(path / BACKUP_MARKER):
        raise StoreError(
            f"{path} is a backup that was interrupted before it was complete. Nothing was changed. Complete it with "
            "`ociserver backup`, or give the store another folder"
        )
    try:
        names = {name for name in os.listdir(path) if not _is_nobodys(name)}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StoreError(f"{path} is not a folder: give the store its own folder") from None
    others = names - OURS
    blobs = _names_in(path / BLOBS)
    if any(not _FAN.fullmatch(name) for name in blobs):
        others.add(BLOBS)
    elif blobs and any(_names_in(path / BLOBS / name) for name in blobs):
        # A store without its database. `Store` refuses that with its own message.
        return
    if others:
        looks, how = _looks_like(path, names, others)
        raise StoreError(
            f"{path} is not a store of ociserver: {looks}. Nothing was changed. Give the store an empty folder{how}"
        )


def _looks_like(path: Path, names: Collection[str], others: Collection[str]) -> tuple[str, str]:
    """What a folder looks like, and how to copy its contents into a store."""
    for below in ("", "registry/v2", "docker/registry/v2"):
        # In a folder with this name the repositories are enough: their blobs may be elsewhere, or lost.
        wanted = {"repositories"} if below else {BLOBS, "repositories"}
        if wanted <= _names_in(path / below):
            where = f" in {below}" if below else ""
            return f"it holds the data of distribution (registry:2, registry:3, Harbor){where}", _bring(_COPY)
    if _LAYOUT in names:
        return "it is an OCI image layout", _bring(_SKOPEO)
    layout = next(_layouts(path), None)
    if layout is not None:
        whose = "zot keeps its" if _ZOT & set(names) else "zot and olareg keep their"
        looks = f"it holds OCI image layouts, such as {_shown(str(layout))}, as {whose} repositories"
        return looks, _bring(f"{_COPY}; or {_SKOPEO}")
    store = next((name for name in sorted(others) if (path / name / DATABASE).is_file()), None)
    if store is not None:
        return f"its subfolder {_shown(store)} is one", f", or {path / _shown(store)}"
    shown = [_shown(name) for name in sorted(others)[:SHOWN]]
    more = len(others) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more else "")
    return f"it holds {listed}", ", or the folder of a store"


def _bring(how: str) -> str:
    return f"; to bring the images over, {how}"


def _layouts(path: Path) -> Iterator[Path]:
    """Folders below that are OCI image layouts. Only the first entries are read, because there may be millions."""
    looked_at = 0
    for folder, folders, files in os.walk(path):
        if _LAYOUT in files:
            yield Path(folder).relative_to(path)
        looked_at += len(folders) + len(files)
        if looked_at > MAX_LOOKED_AT:
            return
        folders[:] = sorted(name for name in folders if name not in ("blobs", "lost+found") and name[0] not in "._")


def _refuse_dangling(path: Path) -> None:
    for link in (path / BLOBS, path, *path.absolute().parents):
        # `exists` follows links. It is also False for links that form a circle.
        with contextlib.suppress(PermissionError):
            if link.is_symlink() and not link.exists():
                target = os.readlink(link)
                raise StoreError(
                    f"{link} is a symbolic link to {_shown(target)}, which does not exist: mount the disk that it is "
                    "on, create that folder, or change the link"
                )


def _refuse_other_database(path: Path) -> None:
    """Refuse a SQLite database of another program. A file that is not a database counts as a damaged store."""
    try:
        # Immutable: SQLite then uses no lock, no log and no index, which would all write into the folder.
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.Error:
        return
    # If a store was killed before its first checkpoint, all of its tables are in the log.
    if tables and "copies" not in tables:
        raise StoreError(f"{path} is a database of another program. Nothing was changed. Give the store another folder")


def _names_in(path: Path) -> set[str]:
    try:
        return {name for name in os.listdir(path) if not _is_nobodys(name)}
    except OSError:
        return set()


def _is_nobodys(name: str) -> bool:
    return name == "lost+found" or name.startswith(".")


def _shown(name: str) -> str:
    """A name that this project has not chosen, on one line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
