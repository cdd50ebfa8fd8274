"""The SQL that changes blobs, uploads and repositories. Each public function is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ociserver._core import is_repository
from ociserver.errors import OCIError
from ociserver.interface import Descriptor
from ociserver.store.immutability import check_deletable, check_repository_deletable, repository_to_empty
from ociserver.store.reads import BLOB_TYPE, StoredContent, UploadRow, repository_id
from ociserver.store.transaction import RunAgainError, Transaction

__all__ = [
    "CheckedCopy",
    "Linked",
    "Stored",
    "UncheckedCopyError",
    "delete_blob",
    "delete_repository",
    "drop_blobs",
    "end_upload",
    "ensure_repository",
    "finish_blob",
    "list_repository",
    "mount",
    "record_dropped",
    "renew",
    "start_upload",
    "suspend_upload",
    "touch_upload",
    "unlink",
    "unlist_if_empty",
]


@dataclass(frozen=True, slots=True)
class Linked:
    """A blob that was linked, and the keys of files that no row names any more."""

    descriptor: Descriptor
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CheckedCopy:
    """The key of a copy in a file, and whether the file has all its bytes."""

    key: str
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the bytes of a blob are: in `content` if they are few, otherwise under `key`."""

    content: bytes | None = None
    key: str | None = None


class UncheckedCopyError(Exception):
    """The content has a copy in a file already. Nothing was changed: check this file, and try again."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def ensure_repository(repository: str) -> Transaction[int]:
    """The id of a repository, which is created if it does not exist."""
    find = "SELECT id FROM repositories WHERE name = ? {FOR KEY SHARE}"
    rows = yield find, (repository,)
    if not rows:
        if not is_repository(repository):
            raise OCIError("NAME_INVALID")
        rows = yield (
            "INSERT INTO repositories (name) VALUES (?) ON CONFLICT (name) DO NOTHING RETURNING id",
            (repository,),
        )
    if not rows:
        rows = yield find, (repository,)  # another transaction has just created it
    if not rows:
        raise RunAgainError  # and a third one has just deleted it
    repo_id: int = rows[0][0]
    return repo_id


def list_repository(repository: str) -> Transaction[None]:
    """Put a repository into the catalog, because it holds something now."""
    yield "UPDATE repositories SET listed = 1 WHERE name = ? AND listed = 0", (repository,)


def unlist_if_empty(repo_id: int) -> Transaction[None]:
    """Remove a repository from the catalog if it is empty."""
    # If two transactions remove the last two things, one of them must see what the other has done.
    yield "{SELECT 1 FROM repositories WHERE id = ? FOR NO KEY UPDATE}", (repo_id,)
    # If it looks empty, a transaction may be adding something. That one must end first, or wait.
    yield (
        "{SELECT 1 FROM repositories WHERE id = ? AND NOT EXISTS (SELECT 1 FROM links WHERE repository_id = ?)"
        " AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository_id = ?) FOR UPDATE}",
        (repo_id, repo_id, repo_id),
    )
    yield (
        "UPDATE repositories SET listed = 0 WHERE id = ?"
        " AND NOT EXISTS (SELECT 1 FROM links WHERE repository_id = ?)"
        " AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository_id = ?)",
        (repo_id, repo_id, repo_id),
    )


def start_upload(repository: str, upload_id: str, algorithm: str, now: int) -> Transaction[None]:
    yield from _insert_into(
        repository,
        "INSERT INTO uploads (id, repository_id, algorithm, size, state, touched)"
        " SELECT ?, id, ?, 0, ?, ? FROM repositories WHERE name = ? RETURNING id",
        (upload_id, algorithm, b"", now),
    )


def suspend_upload(upload: UploadRow, size: int, state: bytes, now: int) -> Transaction[None]:
    """Record how far an upload is.

    Args:
        upload: the upload as its writer knows it.
        size: bytes that the upload has now.
        state: the state from which the next request continues.
        now: seconds since the epoch.

    Raises:
        OCIError: BLOB_UPLOAD_UNKNOWN if the upload has ended, RANGE_INVALID if another writer has written to it.
    """
    held, holder = _held(upload)
    rows = yield (
        f"UPDATE uploads SET size = ?, state = ?, touched = ? WHERE id = ? AND size = ?{held} RETURNING id",
        (size, state, now, upload.id, upload.size, *holder),
    )
    if not rows:
        yield from _refuse(upload)


def touch_upload(upload_id: str, now: int) -> Transaction[None]:
    """Record that an upload is being written to. Raises BLOB_UPLOAD_UNKNOWN if it has ended."""
    rows = yield "UPDATE uploads SET touched = ? WHERE id = ? RETURNING id", (now, upload_id)
    if not rows:
        raise OCIError("BLOB_UPLOAD_UNKNOWN")


def end_upload(upload_id: str) -> Transaction[bool]:
    """Delete the row of an upload. Returns whether it existed."""
    rows = yield "DELETE FROM uploads WHERE id = ? RETURNING id", (upload_id,)
    return bool(rows)


def finish_blob(
    repository: str,
    digest: str,
    size: int,
    *,
    upload: UploadRow | None,
    stored: Stored,
    checked: CheckedCopy | None,
    is_recorded: bool,
    now: int,
) -> Transaction[Linked]:
    """Make verified bytes a blob.

    Args:
        repository: the repository that gets the blob.
        digest: the verified digest of the bytes.
        size: the number of bytes.
        upload: the upload that ends with this, if there is one, as its writer knows it.
        stored: where its bytes are. Those of a small blob replace a copy with a key, whether that is complete or not.
        checked: a copy with a key that the caller has checked; None if it has checked none. An incomplete copy is
            replaced by the new bytes: so a push repairs it.
        is_recorded: whether keys that no copy names are recorded (`Blobs.records`).
        now: seconds since the epoch.

    Raises:
        OCIError: BLOB_UPLOAD_UNKNOWN if the upload has ended, RANGE_INVALID if another writer has written to it.
        UncheckedCopyError: there is a copy with a key, and the caller has checked none.
    """
    if upload is not None:
        yield from _end_unchanged(upload)
    key, content = stored.key, stored.content
    named, dropped = key, None
    # Most contents are new, so there is no SELECT first: each statement releases and takes the GIL.
    rows = yield (
        "INSERT INTO copies (digest, size, key, content) VALUES (?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING"
        " RETURNING id",
        (digest, size, key, content),
    )
    if rows:
        copy_id: int = rows[0][0]
    else:
        copy = yield from _lock_copy(digest)
        if copy is None:
            raise RunAgainError  # collection has just deleted it
        copy_id = copy.id
        if _is_kept(copy, checked, is_small=content is not None):
            # Its record, if there is one, belongs to no upload now.
            named, dropped = None, key
        else:
            yield (
                "UPDATE copies SET size = ?, bad = 0, key = ?, content = ? WHERE id = ?",
                (size, key, content, copy_id),
            )
            dropped = copy.key
            if is_recorded:
                yield from record_dropped([dropped], now)
        yield from _wake(copy_id)
    if is_recorded and named is not None:
        yield "DELETE FROM objects WHERE key = ?", (named,)
    yield from _link(repository, copy_id, now)
    return Linked(Descriptor(BLOB_TYPE, digest, size), [] if dropped is None else [dropped])


def record_dropped(keys: Iterable[str | None], now: int) -> Transaction[None]:
    """Record objects that no copy names any more, so that collection deletes them."""
    for key in keys:
        if key is not None:
            yield "INSERT INTO objects (key, since) VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, now)


def _lock_copy(digest: str) -> Transaction[StoredContent | None]:
    """The stored copy of a content, which nobody else changes, links for the first time or deletes meanwhile."""
    rows = yield (
        "SELECT id, size, bad, key, content FROM copies WHERE digest = ? {FOR NO KEY UPDATE}",
        (digest,),
    )
    return StoredContent(*rows[0]) if rows else None


def _is_kept(copy: StoredContent, checked: CheckedCopy | None, *, is_small: bool) -> bool:
    """Whether a copy stays when its content is pushed again. If not, the pushed bytes replace it."""
    if copy.bad or copy.key is None:
        return not copy.bad
    if is_small:
        return False
    if checked is None:
        raise UncheckedCopyError(copy.key)
    # A copy with another key than the checked one may be missing or too short.
    return checked.is_whole and checked.key == copy.key


def _end_unchanged(upload: UploadRow) -> Transaction[None]:
    held, holder = _held(upload)
    rows = yield (
        f"DELETE FROM uploads WHERE id = ? AND size = ?{held} RETURNING id",
        (upload.id, upload.size, *holder),
    )
    if not rows:
        yield from _refuse(upload)


def _held(upload: UploadRow) -> tuple[str, tuple[str, ...]]:
    """The condition that the writer still holds an upload, with its parameters, if the metadata knows who holds it."""
    if upload.holder is None:
        return "", ()
    return " AND EXISTS (SELECT 1 FROM holds h WHERE h.upload_id = uploads.id AND h.holder = ?)", (upload.holder,)


def _refuse(upload: UploadRow) -> Transaction[None]:
    """Raise the reason why an upload is not as its writer knows it."""
    rows = yield "SELECT 1 FROM uploads WHERE id = ?", (upload.id,)
    if rows:
        raise OCIError("RANGE_INVALID", "another request has written to this upload meanwhile")
    raise OCIError("BLOB_UPLOAD_UNKNOWN")


def mount(from_repository: str | None, to_repository: str, digest: str, now: int) -> Transaction[int]:
    """Link a blob of another repository. Both repositories then link the same copy. Returns its size."""
    source = () if from_repository is None else (from_repository,)
    linked = " JOIN repositories s ON s.id = l.repository_id AND s.name = ?" if source else ""
    whole = "c.digest = ? AND c.bad = 0"
    source_has_it = f"EXISTS (SELECT 1 FROM links l{linked} WHERE l.copy_id = c.id)"
    # One statement, because each takes a round trip, if the copy and the target need no other change.
    rows = yield (
        "INSERT INTO links (repository_id, copy_id, renewed) SELECT f.repository_id, f.copy_id, ?"
        " FROM (SELECT t.id AS repository_id, c.id AS copy_id"
        " FROM copies c JOIN repositories t ON t.name = ? AND t.listed = 1"
        f" WHERE {whole} AND c.idle_since IS NULL AND {source_has_it} {{FOR KEY SHARE OF c, t}}) f"
        " WHERE 1 = 1 ON CONFLICT (repository_id, copy_id) DO UPDATE SET renewed = excluded.renewed"
        " RETURNING (SELECT size FROM copies WHERE id = copy_id)",
        (now, to_repository, digest, *source),
    )
    if rows:
        return int(rows[0][0])
    yield "{SELECT 1 FROM copies WHERE digest = ? FOR KEY SHARE}", (digest,)
    rows = yield f"SELECT c.id, c.size FROM copies c WHERE {whole} AND {source_has_it}", (digest, *source)
    if not rows:
        raise OCIError("BLOB_UNKNOWN")
    copy_id, size = rows[0]
    yield from _wake(copy_id)
    yield from _link(to_repository, copy_id, now)
    return int(size)


def renew(repo_id: int, copy_id: int, now: int) -> Transaction[bool]:
    """Record that a client has requested a blob, so that collection keeps it. Returns whether it is still linked."""
    rows = yield (
        "UPDATE links SET renewed = ? WHERE repository_id = ? AND copy_id = ? RETURNING copy_id",
        (now, repo_id, copy_id),
    )
    return bool(rows)


def delete_blob(repository: str, digest: str, *, immutable_tags: bool, now: int) -> Transaction[None]:
    """Unlink a blob from its repository. Collection deletes the copy later, if no repository links it."""
    repo_id = yield from repository_to_empty(repository, immutable_tags=immutable_tags)
    yield "{SELECT 1 FROM copies WHERE digest = ? FOR UPDATE}", (digest,)
    rows = yield (
        "SELECT c.id FROM copies c JOIN links l ON l.copy_id = c.id WHERE c.digest = ? AND l.repository_id = ?",
        (digest, repo_id),
    )
    if not rows:
        raise OCIError("BLOB_UNKNOWN")
    if immutable_tags:
        yield from check_deletable(repo_id, digest)
    yield from unlink(repo_id, rows[0][0], now)


def delete_repository(repository: str, *, immutable_tags: bool, now: int) -> Transaction[None]:
    """Delete a repository and all that it holds. Its uploads end. The grace period of copies without a link begins."""
    # Nobody adds anything to it until it is gone.
    yield "{SELECT 1 FROM repositories WHERE name = ? FOR UPDATE}", (repository,)
    repo_id = yield from repository_id(repository)
    if immutable_tags:
        yield from check_repository_deletable(repo_id)
    yield "DELETE FROM manifests WHERE repository_id = ?", (repo_id,)
    rows = yield "SELECT copy_id FROM links WHERE repository_id = ? ORDER BY copy_id", (repo_id,)
    for (copy_id,) in rows:
        yield from unlink(repo_id, copy_id, now)
    yield "DELETE FROM uploads WHERE repository_id = ?", (repo_id,)
    yield "DELETE FROM repositories WHERE id = ?", (repo_id,)


def drop_blobs(blobs: Mapping[str, Collection[str]], *, is_recorded: bool, now: int) -> Transaction[list[str]]:
    """Unlink blobs, and delete the copies that nothing links any more.

    Args:
        blobs: by digest, the repositories to unlink the blob from. Links that do not exist are skipped.
        is_recorded: whether keys that no copy names are recorded (`Blobs.records`).
        now: seconds since the epoch.

    Returns:
        The keys of files that no row names any more.
    """
    keys: list[str] = []
    for digest, repositories in sorted(blobs.items()):
        rows = yield "SELECT id FROM copies WHERE digest = ? {FOR UPDATE}", (digest,)
        if not rows:
            continue
        copy_id = rows[0][0]
        for repository in repositories:
            unlinked = yield (
                "DELETE FROM links WHERE copy_id = ? AND repository_id = (SELECT id FROM repositories WHERE name = ?)"
                " RETURNING repository_id",
                (copy_id, repository),
            )
            for (number,) in unlinked:
                yield from unlist_if_empty(number)
        rows = yield (
            "DELETE FROM copies WHERE id = ? AND NOT EXISTS (SELECT 1 FROM links WHERE copy_id = ?) RETURNING key",
            (copy_id, copy_id),
        )
        keys += [key for (key,) in rows if key is not None]
    if is_recorded:
        yield from record_dropped(keys, now)
    return keys


def unlink(repo_id: int, copy_id: int, now: int) -> Transaction[None]:
    """Remove a link. If it was the last one, the grace period of the copy begins."""
    yield "{SELECT 1 FROM copies WHERE id = ? FOR UPDATE}", (copy_id,)
    yield "DELETE FROM links WHERE repository_id = ? AND copy_id = ?", (repo_id, copy_id)
    yield (
        "UPDATE copies SET idle_since = ? WHERE id = ? AND NOT EXISTS (SELECT 1 FROM links WHERE copy_id = ?)",
        (now, copy_id, copy_id),
    )
    yield from unlist_if_empty(repo_id)


def _link(repository: str, copy_id: int, now: int) -> Transaction[None]:
    into = "INSERT INTO links (repository_id, copy_id, renewed) SELECT id, ?, ? FROM repositories WHERE name = ?"
    again = " ON CONFLICT (repository_id, copy_id) DO UPDATE SET renewed = excluded.renewed RETURNING repository_id"
    # One statement, if the repository is in the catalog and so needs no change.
    rows = yield f"{into} AND listed = 1 {{FOR KEY SHARE}}{again}", (copy_id, now, repository)
    if not rows:
        yield from _insert_into(repository, into + again, (copy_id, now))
        yield from list_repository(repository)


def _wake(copy_id: int) -> Transaction[None]:
    """End the grace period of a copy that is about to be linked again."""
    yield "UPDATE copies SET idle_since = NULL WHERE id = ? AND idle_since IS NOT NULL", (copy_id,)


def _insert_into(repository: str, statement: str, parameters: tuple[Any, ...]) -> Transaction[None]:
    """Insert a row that belongs to a repository, and create the repository if it does not exist.

    Args:
        repository: the name of the repository, which is the last parameter of the statement.
        statement: inserts a row for the repository of that name, and returns it.
        parameters: the other parameters.
    """
    rows = yield statement, (*parameters, repository)
    if not rows:
        yield from ensure_repository(repository)
        yield statement, (*parameters, repository)
