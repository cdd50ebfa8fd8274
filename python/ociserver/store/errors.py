"""Errors of the file system and of SQLite, as clients and operators see them."""

from __future__ import annotations

import errno
import sqlite3
from typing import Final

from ociserver.errors import OCIError, RegistryError

__all__ = [
    "DISK_FULL",
    "SAYS_MORE",
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
"""Seconds after which a client may retry a request that was refused with 503."""

DISK_FULL: Final = 507
"""The HTTP status while the disk is full."""

SAYS_MORE: Final = "`ociserver config check FILE --connect` says what to do"
"""Ends the message that a database or a bucket cannot be used."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE})


class StoreError(RegistryError):
    """The folder cannot be used. The message says why, and what to do."""


def is_full(error: Exception) -> bool:
    """Whether an error says that the disk is full. The error is one of the system, or one that a client gets."""
    return error.errno in _FULL if isinstance(error, OSError) else getattr(error, "status", None) == DISK_FULL


def is_full_below(error: BaseException) -> bool:
    """Whether an error, or one of its causes, says that the disk is full."""
    known = of_database(error) if isinstance(error, sqlite3.Error) else error
    if isinstance(known, Exception) and is_full(known):
        return True
    return error.__cause__ is not None and is_full_below(error.__cause__)


def of_disk(error: OSError) -> Exception:
    """What a client gets for an error of the file system. An error that is not known here is returned unchanged."""
    if error.errno in _FULL:
        return disk_full()
    if error.errno in _REFUSED:
        return unavailable("the registry cannot write to its folder: make the folder writable")
    if error.errno in _EXHAUSTED:
        return unavailable("the registry has too many open files: raise the limit (ulimit -n), or retry later")
    if error.errno == errno.EIO:
        return _failed()
    return error


def of_database(error: sqlite3.Error) -> Exception:
    """What a client gets for an error of SQLite. An error that is not known here is returned unchanged."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    # With SHMSIZE, the shared index of the log could not grow: this also means that the disk is full.
    if name in ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"):
        return disk_full()
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return unavailable("the registry's database is locked by another program: end that program, or retry later")
    if name.startswith("SQLITE_READONLY"):
        return unavailable("the registry cannot write to its database: make the folder and its files writable")
    if name.startswith("SQLITE_IOERR"):
        return _failed()
    if damaged(error):
        return OCIError("UNKNOWN", f"the registry's database is damaged ({error}): restore a backup", status=500)
    return error


def damaged(error: sqlite3.Error) -> bool:
    """Whether an error says that the database file is not what SQLite wrote."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def disk_full() -> OCIError:
    """What a client gets while the disk is full."""
    message = "the registry's disk is full: free some space, or delete images and run `ociserver collect`"
    return OCIError("UNKNOWN", message, status=DISK_FULL)


def unavailable(message: str, *, is_logged: bool = False) -> OCIError:
    """What a client gets while the store cannot do what it asks for: 503, with the time to wait before a retry."""
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return OCIError("UNKNOWN", message, status=503, headers=headers, is_logged=is_logged)


def _failed() -> OCIError:
    return OCIError("UNKNOWN", "the registry's disk has failed: see the log of the operating system", status=500)
