"""What `check` asks of the metadata, a page at a time, and how it repairs."""

from __future__ import annotations

from collections.abc import Sequence

from ociserver.store.work import Row, Work

__all__ = [
    "copies_page",
    "count_rows",
    "delete_bad_manifest",
    "foreign_keys",
    "manifests_page",
    "mark_bad",
    "missing_references",
    "record_references",
    "references_of",
]


def count_rows() -> Work[tuple[int, int]]:
    """How many copies and manifests there are, for a progress bar."""
    rows = yield "SELECT (SELECT COUNT(*) FROM copies), (SELECT COUNT(*) FROM manifests)", ()
    copies, manifests = rows[0]
    return copies, manifests


def copies_page(after: int, limit: int) -> Work[list[Row]]:
    """(id, digest, size, bad, key, content, linked) of the copies after one."""
    return (
        yield (
            "SELECT id, digest, size, bad, key, content,"
            " EXISTS (SELECT 1 FROM links l WHERE l.copy_id = copies.id)"
            " FROM copies WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
    )


def manifests_page(after: int, limit: int) -> Work[list[Row]]:
    """(id, repository id, repository, digest, media type, kind, size, subject, content) after one."""
    return (
        yield (
            "SELECT m.id, m.repository_id, r.name, m.digest, m.media_type, m.kind, m.size, m.subject, m.content"
            " FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE m.id > ? ORDER BY m.id LIMIT ?",
            (after, limit),
        )
    )


def references_of(manifest_id: int) -> Work[set[str]]:
    """The digests that are recorded as referenced by a manifest."""
    rows = yield "SELECT digest FROM refs WHERE manifest_id = ?", (manifest_id,)
    return {row[0] for row in rows}


def missing_references(number: int, digests: Sequence[str]) -> Work[list[str]]:
    """Those digests that the repository has neither as a blob nor as a manifest."""
    missing = []
    for digest in digests:
        rows = yield (
            "SELECT 1 FROM copies c JOIN links l ON l.copy_id = c.id WHERE c.digest = ? AND l.repository_id = ?"
            " UNION ALL SELECT 1 FROM manifests WHERE repository_id = ? AND digest = ?",
            (digest, number, number, digest),
        )
        if not rows:
            missing.append(digest)
    return missing


def mark_bad(copy_id: int, key: str | None) -> Work[None]:
    """Mark a copy as rotten, unless a push has replaced it meanwhile; it answers 404 until it is pushed again."""
    if key is None:
        yield "UPDATE copies SET bad = 1 WHERE id = ? AND key IS NULL", (copy_id,)
    else:
        yield "UPDATE copies SET bad = 1 WHERE id = ? AND key = ?", (copy_id, key)


def delete_bad_manifest(manifest_id: int) -> Work[None]:
    """Delete a manifest that is not what its digest says: it cannot be served, and can be pushed again."""
    yield "DELETE FROM manifests WHERE id = ?", (manifest_id,)


def record_references(manifest_id: int, number: int, digests: Sequence[str]) -> Work[None]:
    """Record what a manifest references, as its push should have."""
    yield "DELETE FROM refs WHERE manifest_id = ?", (manifest_id,)
    for digest in digests:
        yield (
            "INSERT INTO refs (manifest_id, repository_id, digest) VALUES (?, ?, ?)",
            (manifest_id, number, digest),
        )


def foreign_keys() -> Work[list[str]]:
    """What the database says of itself, where it is not `ok` (SQLite)."""
    rows = yield "PRAGMA integrity_check(100)", ()
    problems = [str(row[0]) for row in rows if row[0] != "ok"]
    rows = yield "PRAGMA foreign_key_check", ()
    return problems + [f"a row of {table} refers to one of {parent} that is not there" for table, _, parent, _ in rows]
