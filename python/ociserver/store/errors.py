"""What goes wrong below the store, in words for whoever gets to see it."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from ociserver.errors import OCIError, RegistryError

__all__ = [
    "DISK_FULL",
    "StoreError",
    "damaged",
    "disk_full",
    "is_full",
    "is_full_below",
    "of_database",
    "of_disk",
    "unavailable",
]

RETRY_AFTER_S: Final = 10
"""When a client is to try again what cannot be written just now."""

DISK_FULL: Final = 507
"""Its status."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})


class StoreError(RegistryError):
    """The folder cannot be used; the message says why, and what to do."""


def is_full(error: Exception) -> bool:
    """Whether an error, of the system or as a client gets it, is that the disk has no room."""
    return error.errno in _FULL if isinstance(error, OSError) else getattr(error, "status", None) == DISK_FULL


def is_full_below(error: BaseException) -> bool:
    """Whether that the disk has no room is what an error, or a cause of it, comes from."""
    known = of_database(error) if isinstance(error, sqlite3.Error) else error
    if isinstance(known, Exception) and is_full(known):
        return True
    return error.__cause__ is not None and is_full_below(error.__cause__)


def of_disk(error: OSError) -> Exception:
    """What a client gets for an error of the file system; others stay as they are, for the log."""
    if error.errno in _FULL:
        return disk_full()
    if error.errno in _REFUSED:
        return unavailable("the registry's folder cannot be written to just now")
    if error.errno in _EXHAUSTED:
        return unavailable("the registry has too many files open just now")
    if error.errno == errno.EIO:
        return _failed()
    return error


def of_database(error: sqlite3.Error) -> Exception:
    """What a client gets for an error of SQLite; others stay as they are, for the log."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    # The shared index of the log could not grow: there the disk is full too.
    if name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):
        return disk_full()
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return unavailable("the registry's database is locked by another program")
    if name.startswith("SQLITE_READONLY"):
        return unavailable("the registry's database cannot be written to just now")
    if name.startswith("SQLITE_IOERR"):
        return _failed()
    if damaged(error):
        return OCIError("UNKNOWN", f"the registry's database is damaged ({error}): it wants a backup", status=500)
    return error


def damaged(error: sqlite3.Error) -> bool:
    """Whether the database file is not what SQLite wrote."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def disk_full() -> OCIError:
    """What a client gets while the disk has no room."""
    return OCIError("UNKNOWN", "the registry's disk is full: free some space, or delete and collect", status=DISK_FULL)


def unavailable(message: str, *, is_logged: bool = False) -> OCIError:
    """What a client gets for what cannot be done just now: 503, and when to try again."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return OCIError("UNKNOWN", message, status=503, headers=headers, is_logged=is_logged)


def _failed() -> OCIError:
    return OCIError("UNKNOWN", "the registry's disk has failed: see the system's log", status=500)
