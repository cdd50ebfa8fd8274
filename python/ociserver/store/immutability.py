"""Checks that immutable tags need. A write makes them in its own transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ociserver.errors import OCIError
from ociserver.manifests import refused_move
from ociserver.store.reads import repository_id
from ociserver.store.transaction import Transaction

__all__ = ["check_deletable", "check_repository_deletable", "check_tags", "is_held_by_tag", "repository_to_empty"]


def repository_to_empty(repository: str, *, immutable_tags: bool) -> Transaction[int]:
    """The id of a repository from which something is about to be deleted.

    With immutable tags, nobody pushes to it meanwhile: a tag might reach what is deleted, over any number of manifests.
    """
    if immutable_tags:
        yield "{SELECT 1 FROM repositories WHERE name = ? FOR UPDATE}", (repository,)
    return (yield from repository_id(repository))


def check_repository_deletable(repo_id: int) -> Transaction[None]:
    """Raises DENIED if the repository has a tag."""
    rows = yield "SELECT 1 FROM tags WHERE repository_id = ? LIMIT 1", (repo_id,)
    if rows:
        raise OCIError("DENIED", "the repository has tags, and tags are immutable in this registry")


def check_tags(tagged: Mapping[str, int], manifest_id: int | None, tags: Sequence[str], *, is_immutable: bool) -> None:
    """Raises DENIED if one of the tags points at another manifest.

    Args:
        tagged: the manifests of tags that exist.
        manifest_id: the manifest that gets the tags; None if it does not exist yet.
        tags: the tags that must not move.
        is_immutable: whether that is so in the whole registry.
    """
    for tag in tags:
        if tag in tagged and tagged[tag] != manifest_id:
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
