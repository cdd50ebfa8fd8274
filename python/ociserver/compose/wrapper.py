"""The base of all wrappers: opens and closes the inner backend, and passes on calls that a wrapper does not change."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from types import TracebackType
from typing import Self

from ociserver._core import ByteRange
from ociserver.adapt import complete, if_any, read_nowait_of
from ociserver.backend_like import BackendLike
from ociserver.interface import (
    Backend,
    BlobReader,
    BlobWriter,
    Deleter,
    Descriptor,
    Lister,
    Manifest,
    PushedManifest,
    Reader,
    ReadNowait,
    Url,
    Writer,
    end_spool,
)

__all__ = ["DeleterOf", "ListerOf", "ReaderOf", "Wrapper", "WriterOf"]


class Wrapper(Backend):
    """Wraps a backend, `inner`. On its own it supports no call. Mix in the classes below to pass calls on."""

    def __init__(self, backend: BackendLike) -> None:
        self.inner: Backend = complete(backend)
        self.inner_read_nowait = read_nowait_of(self.inner)

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.inner.__aexit__(kind, error, traceback)
        finally:
            # A wrapper may have `push_blob` alone.
            end_spool(self)


class ReaderOf(Reader):
    """Passes reads on to `inner`."""

    inner: Backend
    inner_read_nowait: ReadNowait | None

    def read_nowait(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        return None if self.inner_read_nowait is None else self.inner_read_nowait(kind, repository, reference)

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        return await self.inner.get_blob(repository, digest, range)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        return await self.inner.get_manifest(repository, digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return await self.inner.get_tag(repository, tag)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        return await self.inner.resolve_blob(repository, digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        return await self.inner.resolve_manifest(repository, digest)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return await self.inner.resolve_tag(repository, tag)

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        return await self.inner.locate_blob(repository, digest)


class WriterOf(Writer):
    """Passes writes on to `inner`."""

    inner: Backend

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        return await self.inner.push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        return await self.inner.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        return await self.inner.push_blob_chunked_resume(repository, upload_id, offset=offset, digest=digest)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        return await self.inner.locate_upload(repository, upload_id)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        return await self.inner.mount_blob(from_repository, to_repository, digest)

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
        return await self.inner.push_manifest(
            repository, content, media_type, digest=digest, tags=tags, **if_any(create_only)
        )


class DeleterOf(Deleter):
    """Passes deletions on to `inner`."""

    inner: Backend

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self.inner.delete_blob(repository, digest)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self.inner.delete_manifest(repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self.inner.delete_tag(repository, tag)


class ListerOf(Lister):
    """Passes lists on to `inner`."""

    inner: Backend

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        return self.inner.repositories(start_after=start_after, limit=limit)

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
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
        return self.inner.referrers(repository, digest, artifact_type, start_after=start_after, limit=limit)
