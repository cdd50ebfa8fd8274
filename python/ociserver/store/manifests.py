"""The SQL that changes manifests and tags. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final

from ociserver._core import ManifestInfo, read_stored_manifest
from ociserver.errors import OCIError
from ociserver.interface import Descriptor
from ociserver.manifests import refused_move, refused_retype
from ociserver.store.existing import check_references, look, required_references
from ociserver.store.immutability import check_deletable, check_tags, is_held_by_tag, repository_to_empty
from ociserver.store.reads import repository_id
from ociserver.store.rereading import add_references, record
from ociserver.store.transaction import MAX_TEXTS, RunAgainError, Transaction
from ociserver.store.writes import list_repository, unlist_if_empty

__all__ = ["delete_manifest", "delete_tag", "push_manifest", "renew_manifest"]

_LOCK_MANIFESTS: Final = "{{SELECT 1 FROM manifests WHERE id IN ({}) ORDER BY id FOR NO KEY UPDATE}}"
_RENEW: Final = "UPDATE manifests SET renewed = ? WHERE id = ?"


def push_manifest(
    repository: str,
    descriptor: Descriptor,
    content: bytes,
    info: ManifestInfo,
    tags: Sequence[str],
    create_only: Collection[str],
    *,
    immutable_tags: bool,
    lax: bool,
    now: int,
) -> Transaction[None]:
    """Store a manifest and set its tags. A manifest that is stored already keeps its type, and what is recorded."""
    tags = list(dict.fromkeys(tags))
    fixed = [tag for tag in tags if immutable_tags or tag in create_only]
    required = [] if lax else required_references(info)
    found = yield from look(repository, descriptor.digest, tags, required)
    if found.manifest_id is not None and found.media_type.lower() != info.media_type.lower():
        if read_stored_manifest(content, found.media_type).media_type == found.media_type:
            is_immutable = immutable_tags and (yield from is_held_by_tag(found.repo_id, descriptor.digest))
            raise refused_retype(found.media_type, info.media_type, is_immutable=is_immutable)
        # An older version has recorded a type that the content cannot have.
        yield from record(found.manifest_id, found.repo_id, info)
    check_tags(found.tagged, found.manifest_id, fixed, is_immutable=immutable_tags)
    check_references(found, required)
    untagged = sorted({*found.tagged.values()} - {found.manifest_id})
    if found.manifest_id is not None and untagged:
        # In order: another push may move the same tag the other way.
        yield _filled(_LOCK_MANIFESTS, len(untagged) + 1), tuple(sorted([found.manifest_id, *untagged]))
    # If the manifest is stored already, its content is written again, because this repairs a corrupt one.
    rows = yield (
        (
            "INSERT INTO manifests (repository_id, digest, media_type, kind, size, renewed, subject, artifact_type,"
            " annotations, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (repository_id, digest)"
            " DO UPDATE SET renewed = excluded.renewed, size = excluded.size, content = excluded.content"
            " RETURNING id, media_type"
        ),
        (
            found.repo_id,
            descriptor.digest,
            info.media_type,
            info.kind,
            descriptor.size,
            now,
            info.subject,
            info.artifact_type,
            info.annotations_json,
            content,
        ),
    )
    manifest_id, media_type = rows[0]
    if media_type.lower() != info.media_type.lower():
        raise RunAgainError  # another transaction has just stored it with another type
    if not found.is_listed:
        yield from list_repository(repository)
    yield from add_references(manifest_id, found.repo_id, info)
    # They lose their tags. If another transaction has just given one of these to a third manifest, it has renewed that.
    for one in untagged:
        yield _RENEW, (now, one)
    yield from _set_tags(found.repo_id, [tag for tag in tags if tag not in fixed], manifest_id)
    if fixed and (moved := (yield from _set_fixed_tags(found.repo_id, fixed, manifest_id))):
        raise refused_move(moved[0], is_immutable=immutable_tags)


_SET_TAGS: Final = (
    "INSERT INTO tags (repository_id, name, manifest_id) VALUES {}"
    " ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id"
)
_SET_FIXED_TAGS: Final = f"{_SET_TAGS} WHERE tags.manifest_id = excluded.manifest_id RETURNING name"
_TAG_ROW: Final = "(?, ?, ?)"


def _set_tags(repo_id: int, tags: Sequence[str], manifest_id: int) -> Transaction[None]:
    if tags:
        yield _filled(_SET_TAGS, len(tags), _TAG_ROW), _values(repo_id, tags, manifest_id)


def _set_fixed_tags(repo_id: int, tags: Sequence[str], manifest_id: int) -> Transaction[list[str]]:
    """Set tags that must not move. Returns those that another transaction has set to another manifest meanwhile."""
    rows = yield (
        _filled(_SET_FIXED_TAGS, len(tags), _TAG_ROW),
        _values(repo_id, tags, manifest_id),
    )
    done = {name for (name,) in rows}
    return [tag for tag in tags if tag not in done]


@lru_cache(MAX_TEXTS)
def _filled(statement: str, count: int, item: str = "?") -> str:
    """A statement with a list of this length. The same text is the same object, whose hash is calculated once."""
    return statement.format(", ".join([item] * count) or "NULL")


def _values(repo_id: int, tags: Sequence[str], manifest_id: int) -> tuple[Any, ...]:
    return tuple(value for tag in sorted(tags) for value in (repo_id, tag, manifest_id))


def renew_manifest(manifest_id: int, now: int) -> Transaction[bool]:
    """Count the age of a manifest from now, so that collection keeps it. Returns whether it still exists.

    It does if a client has requested the manifest, or if the manifest loses a tag: a client may be pulling it.
    """
    rows = yield f"{_RENEW} RETURNING id", (now, manifest_id)
    return bool(rows)


def delete_manifest(repository: str, digest: str, *, immutable_tags: bool) -> Transaction[None]:
    """Delete a manifest. The tables' cascade also deletes its tags and the record of its references."""
    repo_id = yield from repository_to_empty(repository, immutable_tags=immutable_tags)
    rows = yield "SELECT id FROM manifests WHERE repository_id = ? AND digest = ? {FOR UPDATE}", (repo_id, digest)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN")
    if immutable_tags:
        yield from check_deletable(repo_id, digest)
    yield "DELETE FROM manifests WHERE id = ?", (rows[0][0],)
    yield from unlist_if_empty(repo_id)


def delete_tag(repository: str, tag: str, *, immutable_tags: bool, now: int) -> Transaction[None]:
    """Delete a tag. The manifest stays."""
    repo_id = yield from repository_id(repository)
    rows = yield "SELECT manifest_id FROM tags WHERE repository_id = ? AND name = ?", (repo_id, tag)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN", "manifest unknown to registry: tag does not exist")
    if immutable_tags:
        raise OCIError("DENIED", "tags are immutable in this registry")
    manifest_id = rows[0][0]
    yield _RENEW, (now, manifest_id)
    rows = yield (
        "DELETE FROM tags WHERE repository_id = ? AND name = ? AND manifest_id = ? RETURNING name",
        (repo_id, tag, manifest_id),
    )
    if not rows:
        raise RunAgainError  # another transaction has just moved or deleted it
