"""The memory backend."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Sequence
from typing import Final

from ociserver._core import ByteRange, ManifestInfo, is_repository
from ociserver.digests import check_digest
from ociserver.errors import OCIError
from ociserver.interface import (
    UNKNOWN_SIZE,
    Backend,
    Descriptor,
    Manifest,
    PushedManifest,
)
from ociserver.iterators import paged
from ociserver.manifests import missing_reference, read_pushed, refused_move, refused_retype
from ociserver.memory import costs
from ociserver.memory.books import Books
from ociserver.memory.content import Blob, Reader
from ociserver.memory.repository import Repository, SortedNames, Stored
from ociserver.memory.sessions import Session, Sessions
from ociserver.memory.upload import Upload
from ociserver.meter import Figures

__all__ = ["Memory"]

PAGE: Final = 1_000
"""Names in a page of a list without a limit. Each page is consistent in itself."""


_MANIFESTS: Final = frozenset({"manifest_get", "manifest_head"})


class Memory(Backend, reads_nowait=True):
    """A registry in memory (Go: `ocimem`). Its contents are lost when the process ends.

    Args:
        immutable_tags: a tag keeps its manifest, and nothing that a tag reaches can be deleted: DENIED.
        lax_child_references: accept manifests whose blobs or child manifests do not exist.
        max_bytes: the most bytes of memory to use, as `size_bytes` counts them. A push that would exceed this is
            refused with 507, and changes nothing. None: no bound.
        upload_timeout_s: seconds after which an upload that receives no data is ended.

    One event loop may use it at a time. All methods may run concurrently there.
    """

    def __init__(
        self,
        *,
        immutable_tags: bool = False,
        lax_child_references: bool = False,
        max_bytes: int | None = None,
        upload_timeout_s: float = 3600.0,
    ) -> None:
        if max_bytes is not None and max_bytes < 0:
            raise ValueError(f"max_bytes is {max_bytes}; it must be 0 or more, or None for no bound")
        if not upload_timeout_s > 0:
            raise ValueError(f"upload_timeout_s is {upload_timeout_s}; it must be above 0")
        self._immutable_tags = immutable_tags
        self._lax = lax_child_references
        self._books = Books(max_bytes)
        self._sessions = Sessions(self._books, upload_timeout_s)
        # A push that does not fit may fit when abandoned uploads have ended.
        self._books.make_room = self._sessions.expire
        self._repositories: dict[str, Repository] = {}
        # The names of repositories that hold something. A repository with only an upload is not in the catalog.
        self._names = SortedNames()
        self._blobs: dict[str, Blob] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes that count towards `max_bytes`.

        They are the bytes of all contents and of unfinished uploads, and an estimate of the memory of each record
        (`ociserver.memory.costs`). A blob is counted once, and a manifest once in each repository. There is a record
        for each repository, upload, blob, manifest, reference and tag, and for annotations in lists of referrers.
        """
        return self._books.total

    @property
    def content_bytes(self) -> int:
        """The part of `size_bytes` that is contents, including unfinished uploads."""
        return self._books.contents

    def figures(self) -> Figures:
        """What the registry holds. Any thread may call it."""
        blobs, repositories = list(self._blobs.values()), list(self._repositories.values())
        sizes = sum(blob.size for blob in blobs)
        return Figures(len(blobs), sizes, sum(len(each.manifests) for each in repositories), len(self._sessions))

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Reader:
        descriptor = self._blob(repository, digest)
        span = (0, descriptor.size) if range is None else range.resolve(descriptor.size)
        if span is None:
            raise OCIError("RANGE_INVALID", detail={"size": descriptor.size})
        return Reader(descriptor, self._blobs[digest], *span)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        return self._manifest(repository, digest).manifest

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return self._repository(repository).tagged(tag)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        return self._blob(repository, digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        return self._manifest(repository, digest).manifest.descriptor

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return self._repository(repository).tagged(tag).descriptor

    def read_nowait(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        held = self._repositories.get(repository)
        if held is None:
            return None
        if kind in _MANIFESTS:
            manifest = held.tags.get(reference)
            if manifest is None:
                stored = held.manifests.get(reference)
                if stored is None:
                    return None
                manifest = stored.manifest
            return manifest.descriptor, manifest.content
        descriptor = held.blobs.get(reference)
        if descriptor is None:
            return None
        if kind == "blob_head":
            return descriptor, None
        blob = self._blobs.get(reference)
        return (descriptor, blob.pieces[0]) if blob is not None and len(blob.pieces) == 1 else None

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        check_digest(descriptor.digest)
        self._books.take(records=costs.UPLOAD)
        session = Session("", repository, descriptor.digest.partition(":")[0])
        upload = Upload(self._sessions, session, 0, self._publish)
        try:
            if descriptor.size != UNKNOWN_SIZE:
                # With a known size, a blob that does not fit is refused before its first byte.
                self._books.take(descriptor.size)
                self._books.give(descriptor.size)
            async for data in chunks:
                await upload.write(data)
            if descriptor.size not in (UNKNOWN_SIZE, session.size):
                raise OCIError("SIZE_INVALID", detail={"expected": descriptor.size, "received": session.size})
            return await upload.commit(descriptor.digest)
        finally:
            self._sessions.end(session)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> Upload:
        self._sessions.expire()
        self._create(repository, records=costs.UPLOAD)
        return Upload(self._sessions, self._sessions.start(repository, algorithm), 0, self._publish)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> Upload:
        self._sessions.expire()
        return Upload(self._sessions, self._sessions.find(repository, upload_id), offset, self._publish)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        if from_repository is not None:
            descriptor = self._blob(from_repository, digest)
        else:
            blob = self._blobs.get(digest)
            if blob is None:
                raise OCIError("BLOB_UNKNOWN")
            descriptor = Descriptor("application/octet-stream", digest, blob.size)
        self._link(to_repository, descriptor)
        return descriptor

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
        create_only: Collection[str] = (),
    ) -> PushedManifest:
        descriptor, info = read_pushed(content, media_type, digest=digest, tags=tags, lax=self._lax)
        found = descriptor.digest
        held = self._repositories.get(repository) or Repository()
        self._check_type(held, descriptor)
        for tag in tags:
            if self._immutable_tags or tag in create_only:
                self._check_move(held, descriptor, tag)
        if not self._lax:
            _check_references(held, info)
        tag_costs = costs.TAG * sum(tag not in held.tags for tag in set(tags))
        if found in held.manifests:
            self._books.take(records=tag_costs)
        else:
            stored = Stored.of(descriptor, content, info)
            held = self._create(repository, len(content), stored.cost + tag_costs)
            if held.is_empty:
                self._names.add(repository)
            held.put(stored)
        for tag in tags:
            held.tag(tag, found)
        return PushedManifest(descriptor, tuple(tags), info.subject)

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        held = self._repository(repository)
        self._blob(repository, digest)
        self._check_deletable(held, digest)
        del held.blobs[digest]
        self._books.give(records=costs.LINK)
        if held.is_empty:
            self._names.remove(repository)
        blob = self._blobs[digest]
        blob.links -= 1
        if blob.links == 0:
            del self._blobs[digest]
            self._books.give(blob.size, costs.BLOB)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        held = self._repository(repository)
        stored = self._manifest(repository, digest)
        self._check_deletable(held, digest)
        tags = held.remove(digest)
        if held.is_empty:
            self._names.remove(repository)
        self._books.give(len(stored.manifest.content), stored.cost + costs.TAG * tags)

    async def delete_tag(self, repository: str, tag: str) -> None:
        held = self._repository(repository)
        if tag not in held.tags:
            raise OCIError("MANIFEST_UNKNOWN", "manifest unknown to registry: tag does not exist")
        if self._immutable_tags:
            raise OCIError("DENIED", "tags are immutable in this registry")
        held.untag(tag)
        self._books.give(records=costs.TAG)

    # Lister

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        async for name in _pages(self._names.after, start_after, limit):
            yield name

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        async for name in _pages(self._repository(repository).tag_names.after, start_after, limit):
            yield name

    async def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        held = self._repository(repository)
        names = held.referrers.get(digest)
        if names is None:
            return
        # With a filter, the limit counts only what passes it, so pages are read until there are enough.
        async for name in _pages(names.after, start_after, None if artifact_type else limit):
            stored = held.manifests.get(name)
            if stored and (artifact_type is None or stored.referrer.artifact_type == artifact_type):
                yield stored.referrer

    # Shared

    def _repository(self, repository: str) -> Repository:
        held = self._repositories.get(repository)
        if held is None:
            raise OCIError("NAME_UNKNOWN")
        return held

    def _create(self, repository: str, contents: int = 0, records: int = 0) -> Repository:
        """The repository, which is created if it does not exist. The given bytes and records are counted first.

        Raises:
            OCIError: NAME_INVALID, or UNKNOWN/507. Then nothing was counted, and no repository was created.
        """
        held = self._repositories.get(repository)
        if held is not None:
            self._books.take(contents, records)
            return held
        if not is_repository(repository):
            raise OCIError("NAME_INVALID")
        self._books.take(contents, records + costs.REPOSITORY)
        held = self._repositories[repository] = Repository()
        return held

    def _blob(self, repository: str, digest: str) -> Descriptor:
        descriptor = self._repository(repository).blobs.get(digest)
        if descriptor is None:
            raise OCIError("BLOB_UNKNOWN")
        return descriptor

    def _manifest(self, repository: str, digest: str) -> Stored:
        stored = self._repository(repository).manifests.get(digest)
        if stored is None:
            raise OCIError("MANIFEST_UNKNOWN")
        return stored

    def _link(self, repository: str, descriptor: Descriptor, pieces: list[bytes] | None = None) -> None:
        """Make a content a blob of a repository. `pieces` are its bytes, unless the registry has them already."""
        digest = descriptor.digest
        held = self._repositories.get(repository)
        known = digest in self._blobs
        linked = held is not None and digest in held.blobs
        records = (0 if known else costs.BLOB) + (0 if linked else costs.LINK)
        held = self._create(repository, 0 if known else descriptor.size, records)
        if not known:
            self._blobs[digest] = Blob(pieces or [])
        if not linked:
            if held.is_empty:
                self._names.add(repository)
            held.blobs[digest] = descriptor
            self._blobs[digest].links += 1

    def _publish(self, session: Session, digest: str) -> Descriptor:
        """Make the bytes of a verified session a blob of its repository, and end the session."""
        descriptor = Descriptor("application/octet-stream", digest, session.size)
        pieces = session.pieces
        # The bytes that were counted for the upload are enough for the blob.
        self._sessions.end(session)
        self._link(session.repository, descriptor, pieces)
        return descriptor

    def _check_type(self, held: Repository, pushed: Descriptor) -> None:
        """Refuse to change the type of a stored manifest."""
        stored = held.manifests.get(pushed.digest)
        if stored is None:
            return
        recorded = stored.manifest.descriptor.media_type
        if recorded.lower() == pushed.media_type.lower():
            return
        is_immutable = self._immutable_tags and held.is_held_by_tag(pushed.digest)
        raise refused_retype(recorded, pushed.media_type, is_immutable=is_immutable)

    def _check_move(self, held: Repository, pushed: Descriptor, tag: str) -> None:
        tagged = held.tags.get(tag)
        if tagged is not None and tagged.descriptor.digest != pushed.digest:
            raise refused_move(tag, is_immutable=self._immutable_tags)

    def _check_deletable(self, held: Repository, digest: str) -> None:
        if self._immutable_tags and held.is_held_by_tag(digest):
            raise OCIError("DENIED", "a tag needs this content, and tags are immutable in this registry")


def _check_references(held: Repository, info: ManifestInfo) -> None:
    for reference in info.references:
        if not reference.required:
            continue
        is_blob = reference.kind != "manifest" and reference.digest in held.blobs
        is_manifest = reference.kind != "blob" and reference.digest in held.manifests
        if not is_blob and not is_manifest:
            raise missing_reference(reference)


def _pages(after: Callable[[str, int], list[str]], start_after: str, limit: int | None) -> AsyncIterator[str]:
    async def read(start_after: str, size: int) -> list[str]:
        return after(start_after, size)

    return paged(read, start_after, limit, PAGE)
