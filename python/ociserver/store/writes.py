"""What the store changes in its metadata: each function is one transaction, all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from ociserver._core import ManifestInfo, is_repository
from ociserver.errors import OCIError
from ociserver.interface import Descriptor
from ociserver.store.reads import BLOB_TYPE, Copy, copy_of, repository_id
from ociserver.store.work import Work

__all__ = [
    "Linked",
    "delete_blob",
    "delete_manifest",
    "delete_repository",
    "delete_tag",
    "end_upload",
    "finish_blob",
    "mount",
    "push_manifest",
    "renew",
    "start_upload",
    "suspend_upload",
    "touch_upload",
    "unlink",
]


@dataclass(frozen=True, slots=True)
class Linked:
    """A blob that was linked, and the keys of files that nothing knows any more since."""

    descriptor: Descriptor
    dropped: list[str] = field(default_factory=list)


def ensure_repository(repository: str) -> Work[int]:
    rows = yield "SELECT id FROM repositories WHERE name = ?", (repository,)
    if not rows:
        if not is_repository(repository):
            raise OCIError("NAME_INVALID")
        rows = yield "INSERT INTO repositories (name) VALUES (?) RETURNING id", (repository,)
    number: int = rows[0][0]
    return number


def start_upload(repository: str, upload_id: str, algorithm: str, now: int) -> Work[None]:
    number = yield from ensure_repository(repository)
    yield (
        "INSERT INTO uploads (id, repository_id, algorithm, size, state, touched) VALUES (?, ?, ?, 0, ?, ?)",
        (upload_id, number, algorithm, b"", now),
    )


def suspend_upload(upload_id: str, size: int, state: bytes, now: int) -> Work[None]:
    """Record how far an upload is. Raises BLOB_UPLOAD_UNKNOWN if it has been ended meanwhile."""
    rows = yield (
        "UPDATE uploads SET size = ?, state = ?, touched = ? WHERE id = ? RETURNING id",
        (size, state, now, upload_id),
    )
    if not rows:
        raise OCIError("BLOB_UPLOAD_UNKNOWN")


def touch_upload(upload_id: str, now: int) -> Work[None]:
    """Note that an upload is being written to. Raises BLOB_UPLOAD_UNKNOWN if it has been ended meanwhile."""
    rows = yield "UPDATE uploads SET touched = ? WHERE id = ? RETURNING id", (now, upload_id)
    if not rows:
        raise OCIError("BLOB_UPLOAD_UNKNOWN")


def end_upload(upload_id: str) -> Work[bool]:
    """Forget an upload; whether it was there."""
    rows = yield "DELETE FROM uploads WHERE id = ? RETURNING id", (upload_id,)
    return bool(rows)


def finish_blob(
    repository: str,
    digest: str,
    size: int,
    *,
    upload_id: str | None,
    content: bytes | None,
    healthy: str | None,
    now: int,
) -> Work[Linked]:
    """Make verified bytes a blob.

    Args:
        repository: where it is linked.
        digest: what the bytes were verified to be.
        size: how many.
        upload_id: the upload that ends by this, if there is one. Its bytes are in the file of that key, unless
            `content` has them.
        content: the bytes of a small blob.
        healthy: the key of a copy whose file the caller has just seen whole. A copy by another key may be
            gone or short, and is replaced by what has just been pushed: that is how a re-push heals.
        now: seconds.

    Raises:
        OCIError: BLOB_UPLOAD_UNKNOWN if the upload was ended meanwhile.
    """
    if upload_id is not None and not (yield from end_upload(upload_id)):
        raise OCIError("BLOB_UPLOAD_UNKNOWN")
    number = yield from ensure_repository(repository)
    key = upload_id if content is None else None
    copy = yield from copy_of(digest)
    dropped: list[str] = []
    if copy is None:
        rows = yield (
            "INSERT INTO copies (digest, size, key, content) VALUES (?, ?, ?, ?) RETURNING id",
            (digest, size, key, content),
        )
        copy_id = rows[0][0]
    else:
        copy_id = copy.id
        if not copy.bad and (copy.content is not None or copy.key == healthy):
            if key is not None:
                dropped.append(key)
        else:
            yield (
                "UPDATE copies SET size = ?, bad = 0, key = ?, content = ? WHERE id = ?",
                (size, key, content, copy_id),
            )
            if copy.key is not None:
                dropped.append(copy.key)
    yield from _link(number, copy_id, now)
    return Linked(Descriptor(BLOB_TYPE, digest, size), dropped)


def mount(from_repository: str | None, to_repository: str, digest: str, now: int) -> Work[Copy]:
    """Link a blob of another repository; the same copy, no bytes."""
    if from_repository is None:
        rows = yield (
            (
                "SELECT c.id, c.size, c.bad, c.key, c.content FROM copies c WHERE c.digest = ?"
                " AND EXISTS (SELECT 1 FROM links l WHERE l.copy_id = c.id)"
            ),
            (digest,),
        )
    else:
        source = yield from repository_id(from_repository)
        rows = yield (
            (
                "SELECT c.id, c.size, c.bad, c.key, c.content FROM copies c JOIN links l ON l.copy_id = c.id"
                " WHERE c.digest = ? AND l.repository_id = ?"
            ),
            (digest, source),
        )
    if not rows:
        raise OCIError("BLOB_UNKNOWN")
    copy = Copy(*rows[0])
    number = yield from ensure_repository(to_repository)
    yield from _link(number, copy.id, now)
    return copy


def renew(number: int, copy_id: int, now: int) -> Work[None]:
    """Note that a client has asked for a blob, and may count on it for a while."""
    yield "UPDATE links SET renewed = ? WHERE repository_id = ? AND copy_id = ?", (now, number, copy_id)


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
    number = yield from ensure_repository(repository)
    rows = yield (
        "SELECT id, media_type FROM manifests WHERE repository_id = ? AND digest = ?",
        (number, descriptor.digest),
    )
    manifest_id, media_type = rows[0] if rows else (None, descriptor.media_type)
    if immutable_tags:
        if media_type != descriptor.media_type and (yield from _is_held_by_tag(number, descriptor.digest)):
            raise OCIError("DENIED", "mismatched media type: a tagged manifest keeps its own")
        yield from _check_tags(number, manifest_id, tags)
    if not lax:
        yield from _check_references(number, info)
    values = (
        descriptor.media_type,
        info.kind,
        now,
        info.subject,
        info.artifact_type,
        json.dumps(info.annotations, ensure_ascii=False) if info.annotations else None,
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
                "UPDATE manifests SET media_type = ?, kind = ?, pushed = ?, subject = ?, artifact_type = ?,"
                " annotations = ? WHERE id = ?"
            ),
            (*values, manifest_id),
        )
        if media_type != descriptor.media_type:
            yield "DELETE FROM refs WHERE manifest_id = ?", (manifest_id,)
    for digest in dict.fromkeys(reference.digest for reference in info.references):
        yield (
            "INSERT INTO refs (manifest_id, repository_id, digest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (manifest_id, number, digest),
        )
    for tag in tags:
        yield (
            (
                "INSERT INTO tags (repository_id, name, manifest_id) VALUES (?, ?, ?)"
                " ON CONFLICT (repository_id, name) DO UPDATE SET manifest_id = excluded.manifest_id"
            ),
            (number, tag, manifest_id),
        )


def delete_blob(repository: str, digest: str, *, immutable_tags: bool, now: int) -> Work[None]:
    """Unlink a blob from its repository; its copy stays until collection finds that nothing links it."""
    number = yield from repository_id(repository)
    rows = yield (
        "SELECT c.id FROM copies c JOIN links l ON l.copy_id = c.id WHERE c.digest = ? AND l.repository_id = ?",
        (digest, number),
    )
    if not rows:
        raise OCIError("BLOB_UNKNOWN")
    if immutable_tags:
        yield from _check_deletable(number, digest)
    yield from unlink(number, rows[0][0], now)


def delete_manifest(repository: str, digest: str, *, immutable_tags: bool) -> Work[None]:
    """Delete a manifest, and with it its tags and what it references (by the tables' cascade)."""
    number = yield from repository_id(repository)
    rows = yield "SELECT id FROM manifests WHERE repository_id = ? AND digest = ?", (number, digest)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN")
    if immutable_tags:
        yield from _check_deletable(number, digest)
    yield "DELETE FROM manifests WHERE id = ?", (rows[0][0],)


def delete_repository(repository: str, now: int) -> Work[None]:
    """Delete a repository and all that it holds; uploads under way end, and copies begin their grace."""
    number = yield from repository_id(repository)
    yield "DELETE FROM manifests WHERE repository_id = ?", (number,)
    rows = yield "SELECT copy_id FROM links WHERE repository_id = ?", (number,)
    for (copy_id,) in rows:
        yield from unlink(number, copy_id, now)
    yield "DELETE FROM uploads WHERE repository_id = ?", (number,)
    yield "DELETE FROM repositories WHERE id = ?", (number,)


def delete_tag(repository: str, tag: str, *, immutable_tags: bool) -> Work[None]:
    """Delete a tag; the manifest stays."""
    number = yield from repository_id(repository)
    rows = yield "SELECT name FROM tags WHERE repository_id = ? AND name = ?", (number, tag)
    if not rows:
        raise OCIError("MANIFEST_UNKNOWN", "tag does not exist")
    if immutable_tags:
        raise OCIError("DENIED", "tags are immutable in this registry")
    yield "DELETE FROM tags WHERE repository_id = ? AND name = ?", (number, tag)


def unlink(number: int, copy_id: int, now: int) -> Work[None]:
    """Take a link away, and start the copy's grace if it was the last."""
    yield "DELETE FROM links WHERE repository_id = ? AND copy_id = ?", (number, copy_id)
    yield (
        "UPDATE copies SET idle_since = ? WHERE id = ? AND NOT EXISTS (SELECT 1 FROM links WHERE copy_id = ?)",
        (now, copy_id, copy_id),
    )


def _link(number: int, copy_id: int, now: int) -> Work[None]:
    yield (
        (
            "INSERT INTO links (repository_id, copy_id, renewed) VALUES (?, ?, ?)"
            " ON CONFLICT (repository_id, copy_id) DO UPDATE SET renewed = excluded.renewed"
        ),
        (number, copy_id, now),
    )
    yield "UPDATE copies SET idle_since = NULL WHERE id = ? AND idle_since IS NOT NULL", (copy_id,)


def _check_tags(number: int, manifest_id: int | None, tags: Sequence[str]) -> Work[None]:
    for tag in tags:
        rows = yield "SELECT manifest_id FROM tags WHERE repository_id = ? AND name = ?", (number, tag)
        if rows and rows[0][0] != manifest_id:
            raise OCIError("DENIED", f"cannot overwrite tag {tag}: tags are immutable in this registry")


def _check_references(number: int, info: ManifestInfo) -> Work[None]:
    if info.kind not in ("image", "index"):
        return
    for reference in info.references:
        if not reference.required:
            continue
        if reference.kind == "blob":
            rows = yield (
                "SELECT 1 FROM copies c JOIN links l ON l.copy_id = c.id AND l.repository_id = ? WHERE c.digest = ?",
                (number, reference.digest),
            )
        else:
            rows = yield "SELECT 1 FROM manifests WHERE repository_id = ? AND digest = ?", (number, reference.digest)
        if not rows:
            raise OCIError(
                "MANIFEST_BLOB_UNKNOWN",
                f"invalid manifest: {reference.kind} for {reference.field} not found",
                detail={"digest": reference.digest},
            )


def _check_deletable(number: int, digest: str) -> Work[None]:
    if (yield from _is_held_by_tag(number, digest)):
        raise OCIError("DENIED", "a tag needs this content, and tags are immutable in this registry")


def _is_held_by_tag(number: int, digest: str) -> Work[bool]:
    """Whether some tag reaches a content through manifests, walking from the content upwards."""
    seen = {digest}
    waiting = [digest]
    while waiting:
        current = waiting.pop()
        rows = yield (
            (
                "SELECT 1 FROM manifests m JOIN tags t ON t.manifest_id = m.id WHERE m.repository_id = ?"
                " AND m.digest = ? LIMIT 1"
            ),
            (number, current),
        )
        if rows:
            return True
        rows = yield (
            (
                "SELECT m.digest FROM refs f JOIN manifests m ON m.id = f.manifest_id WHERE f.repository_id = ?"
                " AND f.digest = ? UNION SELECT digest FROM manifests WHERE repository_id = ? AND subject = ?"
            ),
            (number, current, number, current),
        )
        new = {row[0] for row in rows} - seen
        seen |= new
        waiting.extend(new)
    return False
