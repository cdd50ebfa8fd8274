"""What `check` asks of the metadata, a page at a time, and how it repairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ociserver._core import ManifestInfo
from ociserver.store.manifests import record_references
from ociserver.store.work import Row, Work

__all__ = [
    "Recorded",
    "copies_page",
    "count_rows",
    "delete_bad_manifest",
    "drop_orphaned_rows",
    "manifest_of",
    "manifests_page",
    "mark",
    "missing_references",
    "orphaned_rows",
    "record",
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
    """(id, repository id, repository, digest, size) of the manifests after one."""
    return (
        yield (
            "SELECT m.id, m.repository_id, r.name, m.digest, m.size FROM manifests m"
            " JOIN repositories r ON r.id = m.repository_id WHERE m.id > ? ORDER BY m.id LIMIT ?",
            (after, limit),
        )
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What is recorded of a manifest."""

    media_type: str
    content: bytes
    kind: str
    subject: str | None
    references: frozenset[str]


def manifest_of(manifest_id: int) -> Work[Recorded | None]:
    """A manifest as it is now; None if it is gone."""
    rows = yield "SELECT media_type, content, kind, subject FROM manifests WHERE id = ?", (manifest_id,)
    if not rows:
        return None
    references = yield "SELECT digest FROM refs WHERE manifest_id = ?", (manifest_id,)
    media_type, content, kind, subject = rows[0]
    return Recorded(media_type, content, kind, subject, frozenset(row[0] for row in references))


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


def mark(copy_id: int, key: str | None, *, bad: bool) -> Work[None]:
    """Mark a copy as rotten or as good again, unless a push has replaced it meanwhile; a rotten one answers 404."""
    yield "UPDATE copies SET bad = ? WHERE id = ? AND COALESCE(key, '') = ?", (int(bad), copy_id, key or "")


def delete_bad_manifest(manifest_id: int, content: bytes) -> Work[None]:
    """Delete a manifest that is not what its digest says, unless a push has healed it meanwhile."""
    yield "DELETE FROM manifests WHERE id = ? AND content = ?", (manifest_id, content)


def record(manifest_id: int, number: int, media_type: str, info: ManifestInfo) -> Work[None]:
    """Record what a manifest is and references, as its push should have, if it still is what was read."""
    rows = yield (
        "UPDATE manifests SET kind = ?, subject = ?, artifact_type = ?, annotations = ?"
        " WHERE id = ? AND media_type = ? RETURNING id",
        (info.kind, info.subject, info.artifact_type, info.annotations_json, manifest_id, media_type),
    )
    if rows:
        yield "DELETE FROM refs WHERE manifest_id = ?", (manifest_id,)
        yield from record_references(manifest_id, number, info)


def orphaned_rows() -> Work[dict[str, int]]:
    """How many rows refer to one that is not there, by what they are and lack; a database that is whole has none."""
    found = {}
    for table, column, parent in _REFERENCES:
        rows = yield f"SELECT COUNT(*) FROM {table} WHERE {_ORPHANED.format(column=column, parent=parent)}", ()
        if rows[0][0]:
            found[f"{table} that refer to {parent}"] = rows[0][0]
    return found


def drop_orphaned_rows() -> Work[None]:
    """Delete them: nothing can be read by them, and what they stood for is found missing by the rest of a check."""
    for table, column, parent in _REFERENCES:
        yield f"DELETE FROM {table} WHERE {_ORPHANED.format(column=column, parent=parent)}", ()


# Those of manifests first: what refers to a manifest that goes by this goes with it.
_REFERENCES: Final = (
    ("manifests", "repository_id", "repositories"),
    ("refs", "manifest_id", "manifests"),
    ("tags", "manifest_id", "manifests"),
    ("tags", "repository_id", "repositories"),
    ("links", "copy_id", "copies"),
    ("links", "repository_id", "repositories"),
    ("uploads", "repository_id", "repositories"),
)

_ORPHANED: Final = "NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = {column})"
