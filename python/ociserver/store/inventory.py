"""Counts what a repository holds, for a person who is about to delete it."""

from __future__ import annotations

from dataclasses import dataclass

from ociserver.store.reads import repository_id
from ociserver.store.transaction import Transaction

__all__ = ["Inventory", "inventory"]


@dataclass(frozen=True, slots=True)
class Inventory:
    """The counts. `own_blobs` and `own_bytes` count blobs that no other repository links."""

    tags: int
    manifests: int
    uploads: int
    blobs: int
    own_blobs: int
    own_bytes: int


def inventory(repository: str) -> Transaction[Inventory]:
    """Count what a repository holds. Raises NAME_UNKNOWN."""
    repo_id = yield from repository_id(repository)
    rows = yield (
        "SELECT (SELECT COUNT(*) FROM tags WHERE repository_id = ?),"
        " (SELECT COUNT(*) FROM manifests WHERE repository_id = ?),"
        " (SELECT COUNT(*) FROM uploads WHERE repository_id = ?),"
        " (SELECT COUNT(*) FROM links WHERE repository_id = ?)",
        (repo_id, repo_id, repo_id, repo_id),
    )
    tags, manifests, uploads, blobs = rows[0]
    rows = yield (
        "SELECT COUNT(*), COALESCE(SUM(c.size), 0) FROM links l JOIN copies c ON c.id = l.copy_id"
        " WHERE l.repository_id = ? AND NOT EXISTS"
        " (SELECT 1 FROM links o WHERE o.copy_id = c.id AND o.repository_id <> l.repository_id)",
        (repo_id,),
    )
    own_blobs, own_bytes = rows[0]
    return Inventory(tags, manifests, uploads, blobs, own_blobs, int(own_bytes))
