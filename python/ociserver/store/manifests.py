"""The SQL that changes manifests and tags. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final

from ociserver._core import ManifestInfo, Reference, read_stored_manifest
from ociserver.errors import OCIError
from ociserver.interface import Descriptor
from ociserver.manifests import missing_reference, refused_retype
from ociserver.store.immutability import check_deletable, check_tags, is_held_by_tag
from ociserver.store.reads import repository_id
from ociserver.store.rereading import MAX_DIGESTS, add_references, record
from ociserver.store.transaction import Transaction
from ociserver.store.writes import ensure_repository, list_repository, unlist_if_empty

__all__ = ["delete_manifest", "delete_tag", "push_manifest", "renew_manifest"]

_BLOBS: Final = (
    "SELECT c.digest FROM copies c JOIN links l ON l.copy_id = c.id AND l.repository_id = ?"
    " WHERE c.digest IN ({}) AND c.bad = 0"
)
_MANIFESTS: Final = "SELECT digest FROM manifests WHERE repository_id = ? AND digest IN ({})"


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
    rows = yield (
        "SELECT r.id, m.id, m.media_type FROM repositories r"
        " LEFT JOIN manifests m ON m.repository_id = r.id AND m.digest = ? WHERE r.name = ?",
        (descriptor.digest, repository),
    )
    repo_id, manifest_id, media_type = rows[0] if rows else ((yield from ensure_repository(repository)), None, None)
    if manifest_id is not None and media_type.lower() != info.media_type.lower():
        if read_stored_manifest(content, media_type).media_type == media_type:
            is_immutable = immutable_tags and (yield from is_held_by_tag(repo_id, descriptor.digest))
            raise refused_retype(media_type, info.media_type, is_immutable=is_immutable)
        # An older version has recorded a type that the content cannot have.
        yield from record(manifest_id, repo_id, info)
    fixed = tags if immutable_tags else [tag for tag in tags if tag in create_only]
    yield from check_tags(repo_id, manifest_id, fixed, is_immutable=immutable_tags)
    if not lax:
        yield from _check_references(repo_id, info)
    if manifest_id is None:
        rows = yield (
            (
                "INSERT INTO manifests (repository_id, digest, media_type, kind, size, renewed, subject, artifact_type,"
                " annotations, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
            ),
            (
                repo_id,
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
        manifest_id = rows[0][0]
        yield from list_repository(repository)
    else:
        # The content is written again, because this repairs a corrupt one.
        yield (
            "UPDATE manifests SET renewed = ?, size = ?, content = ? WHERE id = ?",
            (now, descriptor.size, content, manifest_id),
        )
    yield from add_references(manifest_id, repo_id, info)
    for tag in tags:
        yield from _renew_tagged(repo_id, tag, now)
        yield (
            (
                "INSERT INTO tags (repository_id, name, manifest_id) VALUES (?, ?, ?)"
                " ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id"
            ),
            (repo_id, tag, manifest_id),
        )


def renew_manifest(manifest_id: int, now: int) -> Transaction[bool]:
    """Record that a client has requested a manifest, so that collection keeps it. Returns whether it still exists."""
    rows = yield "UPDATE manifests SET renewed = ? WHERE id = ? RETURNING id", (now, manifest_id)
    return bool(rows)


def delete_manifest(repository: str, digest: str, *, immutable_tags: bool) -> Transaction[None]:
    """Delete a manifest. The tables' cascade also deletes its tags and the record of its references."""
    repo_id = yield from repository_id(repository)
    rows = yield "SELECT id FROM manifests WHERE repository_id = ? AND digest = ?", (repo_id, digest)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN")
    if immutable_tags:
        yield from check_deletable(repo_id, digest)
    yield "DELETE FROM manifests WHERE id = ?", (rows[0][0],)
    yield from unlist_if_empty(repo_id)


def delete_tag(repository: str, tag: str, *, immutable_tags: bool, now: int) -> Transaction[None]:
    """Delete a tag. The manifest stays."""
    repo_id = yield from repository_id(repository)
    rows = yield "SELECT name FROM tags WHERE repository_id = ? AND name = ?", (repo_id, tag)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN", "manifest unknown to registry: tag does not exist")
    if immutable_tags:
        raise OCIError("DENIED", "tags are immutable in this registry")
    yield from _renew_tagged(repo_id, tag, now)
    yield "DELETE FROM tags WHERE repository_id = ? AND name = ?", (repo_id, tag)


def _renew_tagged(repository_id: int, tag: str, now: int) -> Transaction[None]:
    """Count the age of the manifest that loses a tag from now: a client may be pulling it."""
    yield (
        "UPDATE manifests SET renewed = ?"
        " WHERE id = (SELECT manifest_id FROM tags WHERE repository_id = ? AND name = ?)",
        (now, repository_id, tag),
    )


def _check_references(repo_id: int, info: ManifestInfo) -> Transaction[None]:
    required: dict[tuple[str, str], Reference] = {}
    for one in info.references:
        if one.required:
            required.setdefault((one.digest, one.kind), one)
    each = iter(required.values())
    while group := list(islice(each, MAX_DIGESTS)):
        blobs = yield from _known(_BLOBS, repo_id, [one.digest for one in group if one.kind != "manifest"])
        manifests = yield from _known(_MANIFESTS, repo_id, [one.digest for one in group if one.kind != "blob"])
        for reference in group:
            is_blob = reference.kind != "manifest" and reference.digest in blobs
            if not is_blob and (reference.kind == "blob" or reference.digest not in manifests):
                raise missing_reference(reference)


def _known(statement: str, repo_id: int, digests: Sequence[str]) -> Transaction[set[str]]:
    """The digests that a repository has, of those that are given."""
    if not digests:
        return set()
    rows = yield statement.format(", ".join("?" * len(digests))), (repo_id, *digests)
    return {row[0] for row in rows}
