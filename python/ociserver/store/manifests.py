"""What the store changes of manifests and tags: each function is one transaction, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from ociserver._core import ManifestInfo
from ociserver.errors import OCIError
from ociserver.interface import Descriptor
from ociserver.store.immutability import check_deletable, check_media_type, check_tags
from ociserver.store.reads import repository_id
from ociserver.store.work import Work
from ociserver.store.writes import ensure_repository

__all__ = ["delete_manifest", "delete_tag", "push_manifest", "record_references"]

AT_ONCE: Final = 100
"""Digests in one statement: all of any image, and with three values each a tenth of what a statement may have."""

_BLOBS: Final = (
    "SELECT c.digest FROM copies c JOIN links l ON l.copy_id = c.id AND l.repository_id = ?"
    " WHERE c.digest IN ({}) AND c.bad = 0"
)
_CHILDREN: Final = "SELECT digest FROM manifests WHERE repository_id = ? AND digest IN ({})"


def push_manifest(
    repository: str,
    descriptor: Descriptor,
    content: bytes,
    info: ManifestInfo,
    tags: Sequence[str],
    *,
    immutable_tags: bool,
    lax: bool,
    now: int,
) -> Work[None]:
    """Store a manifest and set its tags."""
    rows = yield (
        "SELECT r.id, m.id, m.media_type FROM repositories r"
        " LEFT JOIN manifests m ON m.repository_id = r.id AND m.digest = ? WHERE r.name = ?",
        (descriptor.digest, repository),
    )
    number, manifest_id, media_type = rows[0] if rows else ((yield from ensure_repository(repository)), None, None)
    if manifest_id is None:
        media_type = descriptor.media_type
    if immutable_tags:
        if media_type != descriptor.media_type:
            yield from check_media_type(number, descriptor.digest)
        yield from check_tags(number, manifest_id, tags)
    if not lax:
        yield from _check_references(number, info)
    values = (
        descriptor.media_type,
        info.kind,
        now,
        info.subject,
        info.artifact_type,
        info.annotations_json,
    )
    if manifest_id is None:
        rows = yield (
            (
                "INSERT INTO manifests (media_type, kind, pushed, subject, artifact_type, annotations, repository_id,"
                " digest, size, content) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
            ),
            (*values, number, descriptor.digest, descriptor.size, content),
        )
        manifest_id = rows[0][0]
    else:
        yield (
            (
                # The content too: where it has rotted, this heals it.
                "UPDATE manifests SET media_type = ?, kind = ?, pushed = ?, subject = ?, artifact_type = ?,"
                " annotations = ?, size = ?, content = ? WHERE id = ?"
            ),
            (*values, descriptor.size, content, manifest_id),
        )
        if media_type != descriptor.media_type:
            yield "DELETE FROM refs WHERE manifest_id = ?", (manifest_id,)
    yield from record_references(manifest_id, number, info)
    for tag in tags:
        yield (
            (
                "INSERT INTO tags (repository_id, name, manifest_id) VALUES (?, ?, ?)"
                " ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id"
            ),
            (number, tag, manifest_id),
        )


def record_references(manifest_id: int, number: int, info: ManifestInfo) -> Work[None]:
    """Record what a manifest references, so that collection keeps it."""
    for digests in _groups(reference.digest for reference in info.references):
        rows = ", ".join(["(?, ?, ?)"] * len(digests))
        yield (
            f"INSERT INTO refs (manifest_id, repository_id, digest) VALUES {rows} ON CONFLICT DO NOTHING",
            tuple(value for digest in digests for value in (manifest_id, number, digest)),
        )


def delete_manifest(repository: str, digest: str, *, immutable_tags: bool) -> Work[None]:
    """Delete a manifest, and with it its tags and what it references (by the tables' cascade)."""
    number = yield from repository_id(repository)
    rows = yield "SELECT id FROM manifests WHERE repository_id = ? AND digest = ?", (number, digest)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN")
    if immutable_tags:
        yield from check_deletable(number, digest)
    yield "DELETE FROM manifests WHERE id = ?", (rows[0][0],)


def delete_tag(repository: str, tag: str, *, immutable_tags: bool) -> Work[None]:
    """Delete a tag; the manifest stays."""
    number = yield from repository_id(repository)
    rows = yield "SELECT name FROM tags WHERE repository_id = ? AND name = ?", (number, tag)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN", "manifest unknown to registry: tag does not exist")
    if immutable_tags:
        raise OCIError("DENIED", "tags are immutable in this registry")
    yield "DELETE FROM tags WHERE repository_id = ? AND name = ?", (number, tag)


def _check_references(number: int, info: ManifestInfo) -> Work[None]:
    if info.kind not in ("image", "index"):
        return
    required = [reference for reference in info.references if reference.required]
    blobs = yield from _known(_BLOBS, number, (one.digest for one in required if one.kind == "blob"))
    children = yield from _known(_CHILDREN, number, (one.digest for one in required if one.kind != "blob"))
    for reference in required:
        if reference.digest not in (blobs if reference.kind == "blob" else children):
            raise OCIError(
                "MANIFEST_BLOB_UNKNOWN",
                f"invalid manifest: {reference.kind} for {reference.field} not found",
                detail={"digest": reference.digest},
            )


def _known(statement: str, number: int, digests: Iterable[str]) -> Work[set[str]]:
    """Those of some digests that a repository has."""
    known: set[str] = set()
    for group in _groups(digests):
        rows = yield statement.format(", ".join("?" * len(group))), (number, *group)
        known.update(row[0] for row in rows)
    return known


def _groups(digests: Iterable[str]) -> Iterator[list[str]]:
    """Each digest once, as many at a time as one statement takes."""
    each = iter(dict.fromkeys(digests))
    while group := list(islice(each, AT_ONCE)):
        yield group
