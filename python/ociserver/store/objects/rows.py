"""The SQL of holds and of recorded objects. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from ociserver.errors import OCIError
from ociserver.store.blobs import IN_ROW
from ociserver.store.transaction import Row, Transaction

__all__ = [
    "begin_multipart",
    "end_hold",
    "forget_objects",
    "has_objects",
    "hold",
    "keep_only",
    "mark_bad",
    "record_object",
    "renew_hold",
    "unneeded_objects",
]


def hold(upload_id: str, holder: str, now: int, until: int, *, make: bool) -> Transaction[bool]:
    """Hold an upload, if nobody does.

    Args:
        upload_id: the upload.
        holder: who holds it then.
        now: seconds since the epoch. A hold that ended before is replaced.
        until: when the hold ends without a renewal.
        make: whether to hold an upload without objects too. If not, the result is False for it.

    Raises:
        OCIError: with `make`, BLOB_UPLOAD_UNKNOWN, or RANGE_INVALID while somebody else holds it.
    """
    statement = (
        "INSERT INTO holds (upload_id, holder, until) SELECT id, ?, ? FROM uploads WHERE id = ?{}"
        " ON CONFLICT (upload_id) DO UPDATE SET holder = excluded.holder, until = excluded.until WHERE holds.until < ?"
        " RETURNING upload_id"
    )
    if not make:
        only = f" AND size > 0 AND substr(state, 1, {len(IN_ROW)}) <> ?"
        return bool((yield statement.format(only), (holder, until, upload_id, IN_ROW, now)))
    if (yield statement.format(" AND 1 = 1"), (holder, until, upload_id, now)):
        return True
    if (yield "SELECT 1 FROM uploads WHERE id = ?", (upload_id,)):
        raise OCIError("RANGE_INVALID", "another request is writing to this upload")
    raise OCIError("BLOB_UPLOAD_UNKNOWN")


def renew_hold(upload_id: str, holder: str, until: int) -> Transaction[bool]:
    """Hold an upload for longer. False if the upload has ended, or somebody else holds it."""
    rows = yield (
        "UPDATE holds SET until = ? WHERE upload_id = ? AND holder = ? RETURNING upload_id",
        (until, upload_id, holder),
    )
    return bool(rows)


def end_hold(upload_id: str, holder: str) -> Transaction[None]:
    yield "DELETE FROM holds WHERE upload_id = ? AND holder = ?", (upload_id, holder)


def record_object(upload_id: str, key: str, now: int) -> Transaction[None]:
    """Record an object that is about to be made for an upload. Raises BLOB_UPLOAD_UNKNOWN if the upload has ended."""
    rows = yield (
        "INSERT INTO objects (key, upload_id, since) SELECT ?, id, ? FROM uploads WHERE id = ? RETURNING key",
        (key, now, upload_id),
    )
    if not rows:
        raise OCIError("BLOB_UPLOAD_UNKNOWN")


def begin_multipart(key: str, multipart: str) -> Transaction[None]:
    """Record the multipart upload of an object, before it gets a part."""
    yield "UPDATE objects SET multipart = ? WHERE key = ?", (multipart, key)


def keep_only(upload_id: str, holder: str, keys: Sequence[str], now: int) -> Transaction[None]:
    """Leave all objects of an upload but these to collection, and end the hold."""
    rows = yield "DELETE FROM holds WHERE upload_id = ? AND holder = ? RETURNING upload_id", (upload_id, holder)
    if not rows:
        return  # somebody else holds the upload now, and may need them
    marks = ", ".join("?" * len(keys))
    yield (
        f"UPDATE objects SET upload_id = NULL, since = ? WHERE upload_id = ? AND key NOT IN ({marks})",
        (now, upload_id, *keys),
    )


def mark_bad(key: str) -> Transaction[None]:
    """Mark the copy with this key as corrupt, so that the next push replaces it."""
    yield "UPDATE copies SET bad = 1 WHERE key = ?", (key,)


def has_objects() -> Transaction[bool]:
    """Whether a copy is in an object."""
    return bool((yield "SELECT 1 FROM copies WHERE key IS NOT NULL LIMIT 1", ()))


def unneeded_objects(before: int, after: str, limit: int) -> Transaction[list[Row]]:
    """(key, multipart upload) of the objects that nothing needs since `before`, with larger keys than `after`."""
    return (
        yield (
            "SELECT key, multipart FROM objects WHERE upload_id IS NULL AND since < ? AND key > ? ORDER BY key LIMIT ?",
            (before, after, limit),
        )
    )


def forget_objects(keys: Sequence[str]) -> Transaction[None]:
    """Delete the records of objects that were deleted."""
    marks = ", ".join("?" * len(keys))
    yield f"DELETE FROM objects WHERE upload_id IS NULL AND key IN ({marks})", tuple(keys)
