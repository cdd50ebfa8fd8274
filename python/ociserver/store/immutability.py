"""Checks that immutable tags need. A write makes them in its own transaction."""

from __future__ import annotations

from collections.abc import Sequence

from ociserver.errors import OCIError
from ociserver.manifests import refused_move
from ociserver.store.transaction import Transaction

__all__ = ["check_deletable", "check_repository_deletable", "check_tags", "is_held_by_tag"]


def check_repository_deletable(repo_id: int) -> Transaction[None]:
    """Raises DENIED if the repository has a tag."""
    rows = yield "SELECT 1 FROM tags WHERE repository_id = ? LIMIT 1", (repo_id,)
    if rows:
        raise OCIError("DENIED", "the repository has tags, and tags are immutable in this registry")


def check_tags(repo_id: int, manifest_id: int | None, tags: Sequence[str], *, is_immutable: bool) -> Transaction[None]:
    """Raises DENIED if one of the tags points at another manifest."""
    for tag in tags:
        rows = yield "SELECT manifest_id FROM tags WHERE repository_id = ? AND name = ?", (repo_id, tag)
        if rows and rows[0][0] != manifest_id:
            raise refused_move(tag, is_immutable=is_immutable)


def check_deletable(repo_id: int, digest: str) -> Transaction[None]:
    """Raises DENIED if a tag reaches the content."""
    if (yield from is_held_by_tag(repo_id, digest)):
        raise OCIError("DENIED", "a tag needs this content, and tags are immutable in this registry")


def is_held_by_tag(repo_id: int, digest: str) -> Transaction[bool]:
    """Whether a tag reaches a content through manifests. The search goes from the content upwards."""
    seen = {digest}
    waiting = [digest]
    while waiting:
        current = waiting.pop()
        rows = yield (
            (
                "SELECT 1 FROM manifests m JOIN tags t ON t.manifest_id = m.id WHERE m.repository_id = ?"
                " AND m.digest = ? LIMIT 1"
            ),
            (repo_id, current),
        )
        if rows:
            return True
        rows = yield (
            (
                "SELECT m.digest FROM refs f JOIN manifests m ON m.id = f.manifest_id WHERE f.repository_id = ?"
                " AND f.digest = ? UNION SELECT digest FROM manifests WHERE repository_id = ? AND subject = ?"
            ),
            (repo_id, current, repo_id, current),
        )
        new = {row[0] for row in rows} - seen
        seen |= new
        waiting.extend(new)
    return False
