"""The SQL of collection: it reads candidates page by page, and deletes a few rows in each transaction.

Each deletion checks its conditions again in its own transaction. A client may have pushed, mounted or requested the
content since it was read as a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ociserver.store.blobs import IN_ROW
from ociserver.store.transaction import Row, Transaction
from ociserver.store.writes import record_dropped, unlink, unlist_if_empty

__all__ = [
    "abandoned_uploads",
    "copy_key",
    "count_candidates",
    "drop_copy",
    "drop_manifest",
    "drop_upload",
    "idle_copies",
    "known_keys",
    "old_links",
    "unlink_unreferenced",
    "untagged_manifests",
]

_REFERENCED = (
    "EXISTS (SELECT 1 FROM refs f WHERE f.repository_id = l.repository_id AND f.digest = c.digest)"
    " OR EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = l.repository_id AND m.kind = 'opaque')"
)
_KEPT = (
    "EXISTS (SELECT 1 FROM tags t WHERE t.manifest_id = m.id)"
    " OR EXISTS (SELECT 1 FROM refs f WHERE f.repository_id = m.repository_id AND f.digest = m.digest)"
    " OR EXISTS (SELECT 1 FROM manifests s WHERE s.repository_id = m.repository_id AND s.digest = m.subject)"
)


def count_candidates(uploads_before: int, links_before: int, copies_before: int) -> Transaction[int]:
    """The number of uploads, links and copies that are old enough, for a progress bar."""
    rows = yield (
        "SELECT (SELECT COUNT(*) FROM uploads WHERE touched < ?), (SELECT COUNT(*) FROM links WHERE renewed < ?),"
        " (SELECT COUNT(*) FROM copies WHERE idle_since IS NOT NULL AND idle_since < ?)",
        (uploads_before, links_before, copies_before),
    )
    return sum(rows[0])


def untagged_manifests(before: int, after: int, limit: int) -> Transaction[list[Row]]:
    """(id, repository, digest, size) of manifests that no tag, no index and no existing subject keeps."""
    return (
        yield (
            "SELECT m.id, r.name, m.digest, m.size FROM manifests m JOIN repositories r ON r.id = m.repository_id"
            f" WHERE m.id > ? AND m.renewed < ? AND NOT ({_KEPT}) ORDER BY m.id LIMIT ?",
            (after, before, limit),
        )
    )


def drop_manifest(manifest_id: int, before: int) -> Transaction[bool]:
    """Delete a manifest, if nothing keeps it yet. Returns whether it was deleted."""
    yield "{SELECT 1 FROM manifests WHERE id = ? FOR UPDATE}", (manifest_id,)
    rows = yield (
        f"DELETE FROM manifests AS m WHERE m.id = ? AND m.renewed < ? AND NOT ({_KEPT}) RETURNING repository_id",
        (manifest_id, before),
    )
    for (repository_id,) in rows:
        yield from unlist_if_empty(repository_id)
    return bool(rows)


def abandoned_uploads(before: int, after: tuple[int, str], limit: int) -> Transaction[list[Row]]:
    """(touched, id, repository, size, whether the bytes are in its row) of uploads without a record since `before`."""
    return (
        yield (
            f"SELECT u.touched, u.id, r.name, u.size, CASE WHEN substr(u.state, 1, {len(IN_ROW)}) = ? THEN 1 ELSE 0 END"
            # As in `old_links`, a page first.
            " FROM (SELECT * FROM uploads WHERE touched < ? AND (touched, id) > (?, ?) ORDER BY touched, id LIMIT ?)"
            " AS u JOIN repositories r ON r.id = u.repository_id ORDER BY u.touched, u.id",
            (IN_ROW, before, *after, limit),
        )
    )


def drop_upload(upload_id: str, before: int) -> Transaction[bool]:
    """End an upload, unless something was recorded for it meanwhile. A later commit of the upload fails."""
    rows = yield "DELETE FROM uploads WHERE id = ? AND touched < ? RETURNING id", (upload_id, before)
    return bool(rows)


def old_links(before: int, after: tuple[int, int, int], limit: int) -> Transaction[list[Row]]:
    """(renewed, repository id, copy id, repository, digest, size, whether referenced) of links that are old enough."""
    return (
        yield (
            "SELECT l.renewed, l.repository_id, l.copy_id, r.name, c.digest, c.size,"
            f" CASE WHEN {_REFERENCED} THEN 1 ELSE 0 END FROM"
            # A page first, and then the rest: otherwise PostgreSQL expects so many rows that it reads whole tables.
            " (SELECT renewed, repository_id, copy_id FROM links"
            " WHERE renewed < ? AND (renewed, repository_id, copy_id) > (?, ?, ?)"
            " ORDER BY renewed, repository_id, copy_id LIMIT ?) AS l"
            " JOIN copies c ON c.id = l.copy_id JOIN repositories r ON r.id = l.repository_id"
            " ORDER BY l.renewed, l.repository_id, l.copy_id",
            (before, *after, limit),
        )
    )


def unlink_unreferenced(repo_id: int, copy_id: int, before: int, now: int) -> Transaction[bool]:
    """Remove a link, if it is still old and no manifest of its repository references the blob."""
    yield "{SELECT 1 FROM copies WHERE id = ? FOR UPDATE}", (copy_id,)
    yield "{SELECT 1 FROM links WHERE repository_id = ? AND copy_id = ? FOR UPDATE}", (repo_id, copy_id)
    rows = yield (
        "SELECT 1 FROM links l JOIN copies c ON c.id = l.copy_id WHERE l.repository_id = ? AND l.copy_id = ?"
        f" AND l.renewed < ? AND NOT ({_REFERENCED})",
        (repo_id, copy_id, before),
    )
    if rows:
        yield from unlink(repo_id, copy_id, now)
    return bool(rows)


def idle_copies(before: int, after: tuple[int, int], limit: int) -> Transaction[list[Row]]:
    """(idle since, id, digest, size) of copies that no repository has linked since `before`."""
    return (
        yield (
            "SELECT idle_since, id, digest, size FROM copies WHERE idle_since IS NOT NULL AND idle_since < ?"
            " AND (idle_since, id) > (?, ?) ORDER BY idle_since, id LIMIT ?",
            (before, *after, limit),
        )
    )


def drop_copy(copy_id: int, before: int, *, is_recorded: bool, now: int) -> Transaction[list[str] | None]:
    """Delete the row of a copy, if no repository links it yet.

    Args:
        copy_id: the row.
        before: the copy has to be without links since then.
        is_recorded: whether keys that no copy names are recorded (`Blobs.records`).
        now: seconds since the epoch.

    Returns:
        The keys of the files that nothing needs now; None if the copy stays.
    """
    yield "{SELECT 1 FROM copies WHERE id = ? FOR UPDATE}", (copy_id,)
    rows = yield (
        "DELETE FROM copies WHERE id = ? AND idle_since < ?"
        " AND NOT EXISTS (SELECT 1 FROM links WHERE copy_id = ?) RETURNING key",
        (copy_id, before, copy_id),
    )
    if not rows:
        return None
    keys = [row[0] for row in rows if row[0] is not None]
    if is_recorded:
        yield from record_dropped(keys, now)
    return keys


def known_keys(keys: Sequence[str]) -> Transaction[set[str]]:
    """The keys that a copy or an upload has, or that are recorded, all read at one moment."""
    marks = ", ".join("?" * len(keys))
    parameters: tuple[Any, ...] = (*keys, *keys, *keys)
    rows = yield (
        f"SELECT key FROM copies WHERE key IN ({marks}) UNION SELECT id FROM uploads WHERE id IN ({marks})"
        f" UNION SELECT key FROM objects WHERE key IN ({marks})",
        parameters,
    )
    return {row[0] for row in rows}


def copy_key(copy_id: int) -> Transaction[list[str | None]]:
    """The key of a copy, in a list. The list is empty if the copy was deleted."""
    rows = yield "SELECT key FROM copies WHERE id = ?", (copy_id,)
    return [row[0] for row in rows]
