"""The folder of a backup: whether it may be used, its marker, and what is copied into it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from ociserver.store.disk import sync_folder
from ociserver.store.errors import StoreError
from ociserver.store.folder import BACKUP_MARKER
from ociserver.store.modes import Modes

__all__ = ["LOCK", "UNCHANGED", "check_destination", "copy_bytes", "failure_of", "write_marker"]

LOCK: Final = ".backup.lock"
"""A running backup holds it."""

FORMAT: Final = 1
"""Of the marker. A later version may write another one."""

UNCHANGED: Final = "An earlier backup there is unchanged"

_SERVED: Final = "server.lock"
"""`ociserver serve` leaves this in each folder that it has served."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CANNOT_CLONE: Final = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


def write_marker(folder: Path, modes: Modes, files: int | None) -> None:
    """Mark a folder as a backup.

    Args:
        folder: of the backup.
        modes: permissions of the marker.
        files: files of the complete backup; None: it is not complete.
    """
    marker, new = folder / BACKUP_MARKER, folder / f"{BACKUP_MARKER}.new"
    facts: dict[str, Any] = {"format": FORMAT, "state": "incomplete" if files is None else "complete"}
    if files is not None:
        facts |= {"completed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "files": files}
    modes.make_file(new)
    with new.open("w", encoding="utf-8") as file:
        json.dump(facts, file)
        file.flush()
        os.fsync(file.fileno())
    new.rename(marker)
    sync_folder(folder)


def copy_bytes(source: int, target: int, size: int) -> None:
    """Copy a whole file. A file system that can do it shares the blocks until one of the files changes."""
    left = size
    if hasattr(os, "copy_file_range"):
        try:
            while left and (copied := os.copy_file_range(source, target, left)):
                left -= copied
        except OSError as error:
            if left != size or error.errno not in _CANNOT_CLONE:
                raise
    if left:
        with open(source, "rb", closefd=False) as reader, open(target, "wb", closefd=False) as writer:
            shutil.copyfileobj(reader, writer, 1024 * 1024)


def check_destination(source: Path, destination: Path) -> None:
    """Raises StoreError unless the folder is empty, missing, or a backup."""
    real, own = destination.resolve(), source.resolve()
    if real == own or own in real.parents or real in own.parents:
        raise StoreError(f"{destination}: a backup cannot be inside the folder of the store, or around it")
    try:
        names = {name for name in os.listdir(destination) if name not in (LOCK, f"{BACKUP_MARKER}.new", "lost+found")}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise StoreError(f"{destination} is not a folder: give the backup its own folder") from None
    except OSError as error:
        raise failure_of(destination, error) from error
    if _SERVED in names:
        raise StoreError(
            f"{destination} has been served: a backup would overwrite what was pushed to it. Nothing was changed. Back "
            f"up to another folder, or delete {destination / _SERVED} if nothing there is of use"
        )
    if names and BACKUP_MARKER not in names:
        raise StoreError(
            f"{destination} is not a backup, and not empty. Nothing was changed. Give the backup an empty folder"
        )
    if BACKUP_MARKER in names:
        _check_marker(destination)


def _check_marker(destination: Path) -> None:
    try:
        found = json.loads((destination / BACKUP_MARKER).read_bytes())["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{destination / BACKUP_MARKER} cannot be read: {error}. Back up to another folder") from error
    if found != FORMAT:
        raise StoreError(f"{destination} was written by a newer ociserver (format {found}): use that one")


def failure_of(destination: Path, error: Exception) -> StoreError:
    if isinstance(error, sqlite3.Error):
        is_full = getattr(error, "sqlite_errorname", "") in ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
        reason = str(error)
    else:
        is_full = isinstance(error, OSError) and error.errno in _FULL
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if is_full:
        return StoreError(f"{destination}: the disk is full. {UNCHANGED}. Make room, and run the same command again")
    return StoreError(f"{destination}: the backup failed: {reason}. {UNCHANGED}. The same command continues it")
