"""The SQL of `check`: it reads the metadata page by page, and repairs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ociserver._core import ManifestInfo
from ociserver.store import rereading
from ociserver.store.rereading import digest_groups
from ociserver.store.transaction import Row, Transaction

__all__ = [
    "Affected",
    "Recorded",
    "affected_by",
    "affected_by_blob",
    "copies_page",
    "count_rows",
    "delete_bad_manifest",
    "drop_orphaned_rows",
    "list_rightly",
    "manifest_of",
    "manifests_page",
    "mark",
    "missing_references",
    "orphaned_rows",
    "record",
    "wrongly_listed",
]


def count_rows() -> Transaction[tuple[int, int]]:
    """The numbers of copies and manifests, for a progress bar."""
    rows = yield "SELECT (SELECT COUNT(*) FROM copies), (SELECT COUNT(*) FROM manifests)", ()
    copies, manifests = rows[0]
    return copies, manifests


def copies_page(after: int, limit: int) -> Transaction[list[Row]]:
    """(id, digest, size, bad, key, content, linked) of the copies with a larger id."""
    return (
        yield (
            "SELECT id, digest, size, bad, key, content,"
            " EXISTS (SELECT 1 FROM links l WHERE l.copy_id = copies.id)"
            " FROM copies WHERE id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )
    )


def manifests_page(after: int, limit: int) -> Transaction[list[Row]]:
    """(id, repository id, repository, digest, size) of the manifests with a larger id."""
    return (
        yield (
            "SELECT m.id, m.repository_id, r.name, m.digest, m.size FROM manifests m"
            " JOIN repositories r ON r.id = m.repository_id WHERE m.id > ? ORDER BY m.id LIMIT ?",
            (after, limit),
        )
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """The row of a manifest, and the digests that it references."""

    media_type: str
    content: bytes
    kind: str
    subject: str | None
    references: frozenset[str]


def manifest_of(manifest_id: int) -> Transaction[Recorded | None]:
    """A manifest as it is recorded now; None if it was deleted."""
    rows = yield "SELECT media_type, content, kind, subject FROM manifests WHERE id = ?", (manifest_id,)
    if not rows:
        return None
    references = yield "SELECT digest FROM refs WHERE manifest_id = ?", (manifest_id,)
    media_type, content, kind, subject = rows[0]
    return Recorded(media_type, content, kind, subject, frozenset(row[0] for row in references))


def missing_references(repo_id: int, digests: Sequence[str]) -> Transaction[list[str]]:
    """The digests that the repository has neither as a blob nor as a manifest."""
    missing: list[str] = []
    for group in digest_groups(digests):
        marks = ", ".join("?" * len(group))
        rows = yield (
            "SELECT c.digest FROM copies c JOIN links l ON l.copy_id = c.id"
            f" WHERE l.repository_id = ? AND c.digest IN ({marks})"
            f" UNION SELECT digest FROM manifests WHERE repository_id = ? AND digest IN ({marks})",
            (repo_id, *group, repo_id, *group),
        )
        there = {row[0] for row in rows}
        missing += [digest for digest in group if digest not in there]
    return missing


@dataclass(frozen=True, slots=True)
class Affected:
    """What a damaged content affects in one repository: the manifests that reach it, and their tags, both sorted."""

    repository: str
    manifests: tuple[str, ...]
    tags: tuple[str, ...]


def affected_by_blob(digest: str) -> Transaction[list[Affected]]:
    """What a damaged blob affects, for each repository that links it."""
    repositories = yield (
        "SELECT r.id, r.name FROM copies c JOIN links l ON l.copy_id = c.id"
        " JOIN repositories r ON r.id = l.repository_id WHERE c.digest = ? ORDER BY r.name",
        (digest,),
    )
    affected = []
    for repo_id, name in repositories:
        affected.append((yield from affected_by(repo_id, name, digest)))
    return affected


def affected_by(repo_id: int, repository: str, digest: str) -> Transaction[Affected]:
    """What a damaged blob or manifest affects in a repository. The search goes from the content upwards."""
    manifests: set[str] = set()
    tags: set[str] = set()
    waiting = [digest]
    while waiting:
        current = waiting.pop()
        rows = yield (
            "SELECT t.name FROM manifests m JOIN tags t ON t.manifest_id = m.id"
            " WHERE m.repository_id = ? AND m.digest = ?",
            (repo_id, current),
        )
        tags |= {row[0] for row in rows}
        rows = yield (
            "SELECT m.digest FROM refs f JOIN manifests m ON m.id = f.manifest_id"
            " WHERE f.repository_id = ? AND f.digest = ?",
            (repo_id, current),
        )
        new = {row[0] for row in rows} - manifests
        manifests |= new
        waiting.extend(new)
    return Affected(repository, tuple(sorted(manifests)), tuple(sorted(tags)))


def mark(copy_id: int, key: str | None, *, bad: bool) -> Transaction[None]:
    """Mark a copy as corrupt or as correct, unless a push has replaced it. A corrupt copy is answered with 404."""
    yield "UPDATE copies SET bad = ? WHERE id = ? AND COALESCE(key, '') = ?", (int(bad), copy_id, key or "")


def delete_bad_manifest(manifest_id: int, content: bytes) -> Transaction[None]:
    """Delete a manifest that does not match its digest, unless a push has replaced its content."""
    yield "DELETE FROM manifests WHERE id = ? AND content = ?", (manifest_id, content)


def record(manifest_id: int, repo_id: int, content: bytes, info: ManifestInfo) -> Transaction[None]:
    """Record the type and the references of a manifest, unless its content has changed since it was read."""
    rows = yield "SELECT 1 FROM manifests WHERE id = ? AND content = ?", (manifest_id, content)
    if rows:
        yield from rereading.record(manifest_id, repo_id, info)


_LISTED: Final = (
    "CASE WHEN EXISTS (SELECT 1 FROM links WHERE repository_id = repositories.id)"
    " OR EXISTS (SELECT 1 FROM manifests WHERE repository_id = repositories.id) THEN 1 ELSE 0 END"
)


def wrongly_listed() -> Transaction[list[str]]:
    """Repositories that the catalog lists although they are empty, or omits although they hold something."""
    rows = yield f"SELECT name FROM repositories WHERE listed <> {_LISTED} ORDER BY name", ()
    return [row[0] for row in rows]


def list_rightly() -> Transaction[None]:
    """Have the catalog list the repositories that hold something."""
    yield f"UPDATE repositories SET listed = 1 - listed WHERE listed <> {_LISTED}", ()


def orphaned_rows() -> Transaction[dict[str, int]]:
    """The number of rows that refer to a row which does not exist, by table. An intact database has none."""
    found = {}
    for table, column, parent in _REFERENCES:
        rows = yield f"SELECT COUNT(*) FROM {table} WHERE {_ORPHANED.format(column=column, parent=parent)}", ()
        if rows[0][0]:
            found[f"{table} that refer to {parent}"] = rows[0][0]
    return found


def drop_orphaned_rows() -> Transaction[None]:
    """Delete the rows that refer to a row which does not exist.

    Nothing can be read through them. The rest of the check reports the contents that are missing.
    """
    for table, column, parent in _REFERENCES:
        yield f"DELETE FROM {table} WHERE {_ORPHANED.format(column=column, parent=parent)}", ()


# Manifests come first: their deletion also deletes the rows that refer to them.
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
