"""A part of a registry: some repositories are there, the others are not (Go: `ocifilter.Select`)."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import Any

from ociserver._core import ByteRange
from ociserver.compose.wrapper import DeleterOf, ListerOf, ReaderOf, Wrapper, WriterOf
from ociserver.errors import OCIError
from ociserver.interface import BlobReader, BlobWriter, Descriptor, Manifest, PushedManifest

__all__ = ["Select"]


class Select(ReaderOf, WriterOf, DeleterOf, ListerOf, Wrapper):
    """Shows only the repositories that `allow` says yes to.

    The others answer NAME_UNKNOWN to reads, lists and deletions, and DENIED to writes; the catalog
    leaves them out. A mount from anywhere is UNSUPPORTED, since it could tell what a hidden one holds.

    Args:
        backend: the whole registry.
        allow: called with a repository's name, for each request; it should be quick.
    """

    def __init__(self, backend: Any, allow: Callable[[str], bool]) -> None:
        super().__init__(backend)
        self._allow = allow

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        self._visible(repository)
        return await self.inner.get_blob(repository, digest, range)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        self._visible(repository)
        return await self.inner.get_manifest(repository, digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        self._visible(repository)
        return await self.inner.get_tag(repository, tag)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        self._visible(repository)
        return await self.inner.resolve_blob(repository, digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        self._visible(repository)
        return await self.inner.resolve_manifest(repository, digest)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        self._visible(repository)
        return await self.inner.resolve_tag(repository, tag)

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        self._writable(repository)
        return await self.inner.push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        self._writable(repository)
        return await self.inner.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        self._writable(repository)
        return await self.inner.push_blob_chunked_resume(repository, upload_id, offset=offset, digest=digest)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        self._writable(to_repository)
        if from_repository is None:
            raise OCIError("UNSUPPORTED", "a mount has to name the repository that it is from")
        self._visible(from_repository)
        return await self.inner.mount_blob(from_repository, to_repository, digest)

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        self._writable(repository)
        return await self.inner.push_manifest(repository, content, media_type, digest=digest, tags=tags)

    async def delete_blob(self, repository: str, digest: str) -> None:
        self._visible(repository)
        await self.inner.delete_blob(repository, digest)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        self._visible(repository)
        await self.inner.delete_manifest(repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        self._visible(repository)
        await self.inner.delete_tag(repository, tag)

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """The visible ones; a page may read many hidden names to find its own."""
        count = 0
        # Without a limit the inner list comes page by page, for as long as it is asked for more.
        async for name in self.inner.repositories(start_after=start_after):
            if limit is not None and count >= limit:
                return
            if self._allow(name):
                count += 1
                yield name

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        self._visible(repository)
        return self.inner.tags(repository, start_after=start_after, limit=limit)

    def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        self._visible(repository)
        return self.inner.referrers(repository, digest, artifact_type, start_after=start_after, limit=limit)

    def _visible(self, repository: str) -> None:
        if not self._allow(repository):
            raise OCIError("NAME_UNKNOWN")

    def _writable(self, repository: str) -> None:
        if not self._allow(repository):
            raise OCIError("DENIED")
