"""The SQL that reads the metadata. A frequent read is one statement; only an error needs more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from ociserver.errors import OCIError
from ociserver.interface import Descriptor, Manifest
from ociserver.store.transaction import Row, Statement, Transaction

__all__ = [
    "BLOB_TYPE",
    "Link",
    "Referrer",
    "Resolved",
    "StoredContent",
    "UploadRow",
    "blob",
    "copy_of",
    "descriptor",
    "find_blob",
    "find_manifest",
    "find_tag",
    "find_upload",
    "link_of",
    "manifest_of",
    "referrer_annotations",
    "referrers_after",
    "repositories_after",
    "repository",
    "repository_id",
    "resolve_manifest",
    "resolve_tag",
    "resolved_of",
    "small_manifest",
    "tags_after",
]

BLOB_TYPE: Final = "application/octet-stream"

SMALL_SIZE: Final = 64 * 1024
"""Bytes of the largest manifest that a read without waiting returns."""

SMALL_ANNOTATIONS: Final = 4 * 1024
"""The most bytes of annotations that a page of referrers has for one of them. A page has up to a thousand rows, and the
caller may need only one of them. Larger annotations are read one by one, when the caller reaches them."""


@dataclass(frozen=True, slots=True)
class StoredContent:
    """A stored copy of a content: the bytes if it is small, else the key of its file."""

    id: int
    size: int
    bad: bool
    key: str | None
    content: bytes | None


class Link(NamedTuple):
    """A blob of a repository. A tuple, because each further object costs as much as the read itself."""

    descriptor: Descriptor
    copy: StoredContent
    renewed: int
    """When the link was last renewed, in seconds since the epoch."""
    repository_id: int


class Resolved(NamedTuple):
    """The descriptor of a manifest, and its row. A tuple, for the same reason as `Link`."""

    descriptor: Descriptor
    renewed: int
    """When the manifest was last renewed, in seconds since the epoch: its age is counted from then."""
    manifest_id: int


class Referrer(NamedTuple):
    """A manifest that refers to another, for a list."""

    media_type: str
    digest: str
    size: int
    artifact_type: str | None
    annotations: bytes | None
    is_large: int | None
    """Whether it has annotations that are too large for `annotations`."""


class UploadRow(NamedTuple):
    """An upload as it was last recorded. If it has a file, the file may have more bytes."""

    id: str
    algorithm: str
    size: int
    state: bytes
    holder: str | None = None
    """Who has to hold the upload when it is recorded or ended: see `UploadContent.holder`."""


_TAG: Final = (
    "SELECT m.media_type, m.digest, m.size{content} FROM repositories r JOIN tags t ON t.repository_id = r.id"
    " JOIN manifests m ON m.id = t.manifest_id WHERE r.name = ? AND t.name = ?"
)
_MANIFEST: Final = (
    "SELECT m.media_type, m.digest, m.size{content} FROM repositories r JOIN manifests m ON m.repository_id = r.id"
    " WHERE r.name = ? AND m.digest = ?"
)
_GET_TAG: Final = _TAG.format(content=", m.content")
_RESOLVED: Final = ", m.renewed, m.id"
_RESOLVE_TAG: Final = _TAG.format(content=_RESOLVED)
_GET_MANIFEST: Final = _MANIFEST.format(content=", m.content")
_RESOLVE_MANIFEST: Final = _MANIFEST.format(content=_RESOLVED)
_SMALL: Final = f", CASE WHEN m.size <= {SMALL_SIZE} THEN m.content END"
_SMALL_TAG: Final = _TAG.format(content=_SMALL)
_SMALL_MANIFEST: Final = _MANIFEST.format(content=_SMALL)
_REPOSITORY: Final = "SELECT id FROM repositories WHERE name = ?"
_REFERRERS: Final = (
    "SELECT media_type, digest, size, artifact_type,"
    " CASE WHEN length(annotations) <= {most} THEN annotations END, length(annotations) > {most}"
    " FROM manifests WHERE repository_id = ? AND subject = ?{filter} AND digest > ? ORDER BY digest LIMIT ?"
)
_ALL_REFERRERS: Final = _REFERRERS.format(filter="", most=SMALL_ANNOTATIONS)
_REFERRERS_OF_TYPE: Final = _REFERRERS.format(filter=" AND artifact_type = ?", most=SMALL_ANNOTATIONS)
_BLOB: Final = (
    "SELECT c.id, c.size, c.bad, c.key, c.content, l.renewed, l.repository_id FROM repositories r"
    " JOIN copies c ON c.digest = ? JOIN links l ON l.repository_id = r.id AND l.copy_id = c.id WHERE r.name = ?"
)


def find_tag(repository: str, tag: str) -> Transaction[Manifest]:
    rows = yield _GET_TAG, (repository, tag)
    return manifest_of(rows[0]) if rows else (yield from _missing(repository, "MANIFEST_UNKNOWN"))


def find_manifest(repository: str, digest: str) -> Transaction[Manifest]:
    rows = yield _GET_MANIFEST, (repository, digest)
    return manifest_of(rows[0]) if rows else (yield from _missing(repository, "MANIFEST_UNKNOWN"))


def resolve_tag(repository: str, tag: str) -> Transaction[Resolved]:
    rows = yield _RESOLVE_TAG, (repository, tag)
    return resolved_of(rows[0]) if rows else (yield from _missing(repository, "MANIFEST_UNKNOWN"))


def resolve_manifest(repository: str, digest: str) -> Transaction[Resolved]:
    rows = yield _RESOLVE_MANIFEST, (repository, digest)
    return resolved_of(rows[0]) if rows else (yield from _missing(repository, "MANIFEST_UNKNOWN"))


def find_blob(repository: str, digest: str) -> Transaction[Link]:
    rows = yield _BLOB, (digest, repository)
    return link_of(digest, rows[0]) if rows else (yield from _missing(repository, "BLOB_UNKNOWN"))


def small_manifest(repository: str, reference: str) -> Statement:
    """The statement for a manifest by tag or digest. A large content is left out."""
    return _SMALL_MANIFEST if ":" in reference else _SMALL_TAG, (repository, reference)


def descriptor(repository: str, reference: str) -> Statement:
    """The statement for the descriptor of a manifest by tag or digest."""
    return _RESOLVE_MANIFEST if ":" in reference else _RESOLVE_TAG, (repository, reference)


def blob(repository: str, digest: str) -> Statement:
    return _BLOB, (digest, repository)


def repository(name: str) -> Statement:
    return _REPOSITORY, (name,)


def manifest_of(row: Row) -> Manifest:
    media_type, digest, size, content = row
    return Manifest(Descriptor(media_type, digest, size), content)


def resolved_of(row: Row) -> Resolved:
    media_type, digest, size, renewed, manifest_id = row
    return Resolved(Descriptor(media_type, digest, size), renewed, manifest_id)


def link_of(digest: str, row: Row) -> Link:
    *columns, renewed, repo_id = row
    copy = StoredContent(*columns)
    return Link(Descriptor(BLOB_TYPE, digest, copy.size), copy, renewed, repo_id)


def copy_of(digest: str) -> Transaction[StoredContent | None]:
    """The stored copy of a content, whichever repository links it."""
    rows = yield "SELECT id, size, bad, key, content FROM copies WHERE digest = ?", (digest,)
    return StoredContent(*rows[0]) if rows else None


def find_upload(repository: str, upload_id: str) -> Transaction[UploadRow]:
    rows = yield (
        (
            "SELECT u.id, u.algorithm, u.size, u.state FROM uploads u JOIN repositories r ON r.id = u.repository_id"
            " WHERE u.id = ? AND r.name = ?"
        ),
        (upload_id, repository),
    )
    if not rows:
        raise OCIError("BLOB_UPLOAD_UNKNOWN")
    return UploadRow(*rows[0])


def repositories_after(name: str, limit: int) -> Transaction[list[str]]:
    rows = yield "SELECT name FROM repositories WHERE listed = 1 AND name > ? ORDER BY name LIMIT ?", (name, limit)
    return [row[0] for row in rows]


def tags_after(repository: str, name: str, limit: int) -> Transaction[list[str]]:
    repo_id = yield from repository_id(repository)
    rows = yield (
        "SELECT name FROM tags WHERE repository_id = ? AND name > ? ORDER BY name LIMIT ?",
        (repo_id, name, limit),
    )
    return [row[0] for row in rows]


def referrers_after(
    repository: str, subject: str, artifact_type: str | None, digest: str, limit: int
) -> Transaction[list[Referrer]]:
    repo_id = yield from repository_id(repository)
    if artifact_type is None:
        rows = yield _ALL_REFERRERS, (repo_id, subject, digest, limit)
    else:
        rows = yield _REFERRERS_OF_TYPE, (repo_id, subject, artifact_type, digest, limit)
    return [Referrer(*row) for row in rows]


def referrer_annotations(repository: str, subject: str, digest: str) -> Transaction[bytes | None]:
    """The annotations of a referrer, however large; None if it is no longer a referrer."""
    rows = yield (
        (
            "SELECT m.annotations FROM repositories r JOIN manifests m ON m.repository_id = r.id"
            " WHERE r.name = ? AND m.digest = ? AND m.subject = ?"
        ),
        (repository, digest, subject),
    )
    return rows[0][0] if rows else None


def repository_id(repository: str) -> Transaction[int]:
    rows = yield _REPOSITORY, (repository,)
    if not rows:
        raise OCIError("NAME_UNKNOWN")
    repo_id: int = rows[0][0]
    return repo_id


def _missing(repository: str, code: str) -> Transaction[NoReturn]:
    yield from repository_id(repository)
    raise OCIError(code)
