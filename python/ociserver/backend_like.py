"""The type of what a handler or a wrapper takes as a backend: any object with at least one method of the interface."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import Protocol

from ociserver._core import ByteRange
from ociserver.interface import Backend, BlobReader, Deleter, Descriptor, Lister, Manifest, Reader, Writer

__all__ = ["BackendLike"]


class _GetsBlobs(Protocol):
    def get_blob(self, repository: str, digest: str, range: ByteRange | None = None, /) -> Awaitable[BlobReader]: ...


class _GetsManifests(Protocol):
    def get_manifest(self, repository: str, digest: str, /) -> Awaitable[Manifest]: ...


class _GetsTags(Protocol):
    def get_tag(self, repository: str, tag: str, /) -> Awaitable[Manifest]: ...


class _ResolvesBlobs(Protocol):
    def resolve_blob(self, repository: str, digest: str, /) -> Awaitable[Descriptor]: ...


class _ResolvesManifests(Protocol):
    def resolve_manifest(self, repository: str, digest: str, /) -> Awaitable[Descriptor]: ...


class _ResolvesTags(Protocol):
    def resolve_tag(self, repository: str, tag: str, /) -> Awaitable[Descriptor]: ...


class _TakesBlobs(Protocol):
    def push_blob(
        self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes], /
    ) -> Awaitable[Descriptor]: ...


class _ListsRepositories(Protocol):
    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]: ...


class _ListsTags(Protocol):
    def tags(self, repository: str, /, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]: ...


BackendLike = (
    Backend
    | Reader
    | Writer
    | Deleter
    | Lister
    | _GetsBlobs
    | _GetsManifests
    | _GetsTags
    | _ResolvesBlobs
    | _ResolvesManifests
    | _ResolvesTags
    | _TakesBlobs
    | _ListsRepositories
    | _ListsTags
)
"""A `Backend`, a part of one, or any object with one of its methods. Missing methods raise UNSUPPORTED."""
