"""The cache: decides whether the local registry or upstream answers a request."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

from ociserver._core import ByteRange
from ociserver.adapt import complete, if_any, read_nowait_of
from ociserver.backend_like import BackendLike
from ociserver.compose.cache import limits
from ociserver.compose.cache.blobs import Blobs
from ociserver.compose.cache.eviction import USE_AFTER_S, Eviction
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.lists import Ask, Lists
from ociserver.compose.cache.local import folder_of, store_of
from ociserver.compose.cache.locks import Locks
from ociserver.compose.cache.manifests import Found, Manifests, usable
from ociserver.compose.cache.old_index import take_over
from ociserver.compose.cache.ownership import Ownership
from ociserver.compose.cache.queries import Content
from ociserver.compose.cache.room import Room
from ociserver.compose.cache.routing import Route, Routes
from ociserver.compose.cache.tidying import Tidying
from ociserver.compose.cache.upstream import Upstream
from ociserver.errors import CONTENT_UNKNOWN, OCIError
from ociserver.interface import (
    Backend,
    BlobReader,
    BlobWriter,
    Descriptor,
    Manifest,
    PushedManifest,
)
from ociserver.iterators import closing
from ociserver.media_types import is_media_type
from ociserver.meter import CacheContent, Meter
from ociserver.single_flight import SingleFlight

__all__ = ["Cache"]

Item = TypeVar("Item")


class Cache(Backend, reads_nowait=True):
    """Answers from `local`. Fetches contents that `local` does not have from upstream, and keeps them there.

    A repository is local or upstream's. It is local if a client pushed to it before the cache fetched anything for it.
    The cache never asks upstream about a local repository, and answers DENIED to a push to an upstream repository. With
    `is_local`, the caller decides which repositories are local.

    Check access in front of a cache, and not behind it: the cache gives a content that one client requested to all.

    Args:
        upstream: the registry to cache; or several, by the host that each stands for, such as `docker.io`. A client
            names the host by the `ns` parameter or at the beginning of the repository. "" is for all other names.
        local: keeps the contents. It must accept manifests before their children (`lax_child_references`). If it is a
            `Store`, any number of processes and nodes may share the cache, and its index outlives restarts.
        is_local: whether a repository is local. All other repositories are read-only.
        tag_lifetime: seconds for which the cache does not ask upstream about a tag again.
        max_bytes: bytes on the disk that contents of upstream may take. The cache evicts the least recently used ones.
        upstream_timeout: seconds that upstream has to resolve a tag. After that, the cache answers with what it has,
            and adds a warning.
        list_timeout: the same for the beginning of a list; `upstream_timeout` if that is shorter.
        answer_timeout: seconds that upstream has to begin an answer if the cache has no other one. After that, the
            cache answers 504.
        retry_after: seconds for which the cache does not ask an upstream that failed about tags and lists that it has
            itself. After that, one request tries upstream.
        use_after: seconds after which the cache records another use of a content, for the order of eviction.
        downloads: a folder for downloads in progress, which the processes of one node share, so that they fetch a blob
            once. It is created for the user of the process, and nothing else may be in it. By default a folder in that
            of the store. Without one, each process fetches for itself, and uses temporary files without names.
        max_downloads_bytes: bytes of temporary files of this process: of blobs that are fetched into a bucket, or that
            are not kept. Above it, a download waits for others to end, for `answer_timeout` at most, and then gets 503.
            A larger blob than three quarters of it counts as three quarters.
        meter: is told of reads and of failures of upstream, for metrics.

    Raises:
        ValueError: a number is negative, or a host is not valid.
    """

    def __init__(
        self,
        upstream: BackendLike | Mapping[str, BackendLike],
        local: BackendLike,
        *,
        is_local: Callable[[str], bool] | None = None,
        tag_lifetime: float = limits.TAG_LIFETIME_S,
        max_bytes: int | None = None,
        upstream_timeout: float = limits.UPSTREAM_TIMEOUT_S,
        list_timeout: float = limits.LIST_TIMEOUT_S,
        answer_timeout: float = limits.ANSWER_TIMEOUT_S,
        retry_after: float = limits.RETRY_AFTER_S,
        use_after: float = USE_AFTER_S,
        downloads: str | os.PathLike[str] | None = None,
        max_downloads_bytes: int = limits.MAX_SPOOLED,
        meter: Meter | None = None,
    ) -> None:
        seconds = (tag_lifetime, upstream_timeout, list_timeout, answer_timeout, retry_after, use_after)
        if min(*seconds, max_bytes or 0) < 0:
            raise ValueError("max_bytes, lifetimes, timeouts, retry_after and use_after must not be negative")
        given = upstream if isinstance(upstream, Mapping) else {"": upstream}
        self._upstreams = {
            host: Upstream(complete(backend), host, retry_after, answer_timeout, meter)
            for host, backend in given.items()
        }
        self._meter = meter
        self._routes = Routes(self._upstreams)
        self._local = complete(local)
        self._local_read_nowait = read_nowait_of(self._local)
        self._store = store = store_of(self._local)
        self._index = Index(store)
        self._ownership = Ownership(self._local, self._index, is_local)
        self._locks = Locks(folder_of(store, downloads))
        self._flights: SingleFlight[Hashable, None] = SingleFlight(own_context=True)
        self._eviction = Eviction(self._local, store, self._index, max_bytes, use_after)
        shared = (self._index, self._eviction, self._flights, self._locks)
        folder = store.blob_folder if store is not None and store.has_files else None
        room = Room(max_downloads_bytes, answer_timeout)
        self._blobs = Blobs(self._local, folder, *shared, room)
        self._manifests = Manifests(self._local, *shared, tag_lifetime=tag_lifetime, upstream_timeout=upstream_timeout)
        self._lists = Lists(self._local, min(list_timeout, upstream_timeout))
        self._tidying = Tidying(store, self._index, self._eviction, self._locks, self._blobs, is_local)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._local)
            stack.push_async_callback(self._index.close)
            await self._index.open()
            stack.push_async_callback(self._eviction.close)
            stack.push_async_callback(self._locks.close)
            await self._locks.open()
            if self._store is not None:
                async with self._locks.hold("index"):
                    await take_over(self._store)
            for upstream in self._upstreams.values():
                await stack.enter_async_context(upstream.backend)
            stack.push_async_callback(self._flights.close)
            self._flights.start(("tidying",), self._tidying.run)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        route = self._routes.find(repository)
        try:
            reader = await self._local.get_blob(route.repository, digest, range)
        except OCIError as error:
            return await self._otherwise(route, "blob", error, lambda _: self._blobs.get(route, digest, range))
        self._count("blob", is_hit=True)
        self._eviction.use(Content("blob", digest))
        return reader

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        route = self._routes.find(repository)
        try:
            found = await self._local.resolve_blob(route.repository, digest)
        except OCIError as error:
            return await self._otherwise(
                route, "blob", error, lambda upstream: upstream.resolve_blob(route.name, digest)
            )
        self._count("blob", is_hit=True)
        return found

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        route = self._routes.find(repository)
        manifest = await self._by_digest(route, digest, self._local.get_manifest)
        self._eviction.use(Content("manifest", digest, route.repository))
        return manifest

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        return await self._by_digest(self._routes.find(repository), digest, self._local.resolve_manifest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        route = self._routes.find(repository)
        manifest = await self._by_tag(route, tag, self._local.get_tag)
        self._eviction.use(Content("manifest", manifest.descriptor.digest, route.repository))
        return manifest

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return await self._by_tag(self._routes.find(repository), tag, self._local.resolve_tag)

    def read_nowait(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        if self._local_read_nowait is None:
            return None
        route = self._routes.find(repository)
        is_tag = ":" not in reference
        if is_tag and not self._manifests.was_just_checked(route, reference):
            return None
        try:
            found = self._local_read_nowait(kind, route.repository, reference)
        except OCIError:
            return None  # upstream may have the content
        if found is None or not is_media_type(found[0].media_type):
            return None
        if kind == "blob_get":
            used = Content("blob", found[0].digest)
        elif kind == "manifest_get":
            used = Content("manifest", found[0].digest, route.repository)
        else:
            used = None
        if used is not None and not self._eviction.was_just_used(used):
            # A use must be recorded from time to time. The other code path does that.
            return None
        if self._meter:
            self._meter.cache_read("blob" if kind.startswith("blob") else "manifest", is_hit=True)
        return found

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        await self._ownership.check_push(repository)
        return await self._local.push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        await self._ownership.check_push(repository)
        return await self._local.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        await self._ownership.check_push(repository)
        return await self._local.push_blob_chunked_resume(repository, upload_id, offset=offset, digest=digest)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        await self._ownership.check_push(to_repository)
        return await self._local.mount_blob(from_repository, to_repository, digest)

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
        async with self._ownership.pushing(repository):
            return await self._local.push_manifest(
                repository, content, media_type, digest=digest, tags=tags, **if_any(create_only)
            )

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self._local.delete_blob(repository, digest)
        if await self._ownership.is_cached(repository):
            await self._eviction.deleted(Content("blob", digest), repository)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self._local.delete_manifest(repository, digest)
        if await self._ownership.is_cached(repository):
            await self._eviction.deleted(Content("manifest", digest, repository), repository)

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self._local.delete_tag(repository, tag)
        await self._manifests.forget(repository, tag)

    # Lister

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """The repositories of which the cache has contents. An upstream may have millions of others."""
        return self._local.repositories(start_after=start_after, limit=limit)

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Upstream's tags; the tags that are kept here if upstream does not answer."""
        route = self._routes.find(repository)
        return self._list(route, lambda backend, name: backend.tags(name, start_after=start_after, limit=limit))

    def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        """Upstream's referrers; the referrers that are kept here if upstream does not answer."""
        route = self._routes.find(repository)
        return self._list(
            route,
            lambda backend, name: backend.referrers(name, digest, artifact_type, start_after=start_after, limit=limit),
        )

    async def _list(self, route: Route, ask: Ask[Item]) -> AsyncIterator[Item]:
        if await self._ownership.is_upstreams(route):
            self._count("list", is_hit=False)
            is_known = await self._index.owner(route.repository) is not None
            items = self._lists.upstreams(route, ask, is_known=is_known)
        else:
            self._count("list", is_hit=True)
            items = self._lists.locals(route, ask)
        async with closing(items) as found:
            async for item in found:
                yield item

    async def _otherwise(
        self, route: Route, content: CacheContent, error: OCIError, ask: Callable[[Upstream], Awaitable[Item]]
    ) -> Item:
        """Ask upstream, if the local error only says that the content is missing."""
        if error.code not in CONTENT_UNKNOWN or not await self._ownership.is_upstreams(route):
            raise error
        assert route.upstream
        self._count(content, is_hit=False)
        try:
            return await ask(route.upstream)
        except OCIError as other:
            # If upstream does not even know the repository, the local error is more specific.
            raise error if other.code == "NAME_UNKNOWN" else other from None

    def _count(self, content: CacheContent, *, is_hit: bool) -> None:
        if self._meter:
            self._meter.cache_read(content, is_hit=is_hit)

    # Manifests

    async def _by_digest(self, route: Route, digest: str, read: Callable[[str, str], Awaitable[Found]]) -> Found:
        for attempt in range(limits.ATTEMPTS):
            try:
                found = usable(await read(route.repository, digest))
            except OCIError as error:
                await self._otherwise(route, "manifest", error, lambda _: self._manifests.fetch(route, digest))
            else:
                if not attempt:
                    self._count("manifest", is_hit=True)
                return found
        return usable(await read(route.repository, digest))

    async def _by_tag(self, route: Route, tag: str, read: Callable[[str, str], Awaitable[Found]]) -> Found:
        is_hit = await self._manifests.is_fresh(route, tag) or not await self._ownership.is_upstreams(route)
        self._count("manifest", is_hit=is_hit)
        if not is_hit:
            try:
                await self._manifests.refresh(route, tag)
            except OCIError as error:
                if error.code != "NAME_UNKNOWN":
                    raise
        try:
            return usable(await read(route.repository, tag))
        except OCIError:
            if not await self._manifests.is_fresh(route, tag) or not await self._ownership.is_upstreams(route):
                raise
        for _ in range(limits.ATTEMPTS):
            # The manifest was evicted or deleted after upstream was asked.
            await self._manifests.forget(route.repository, tag)
            await self._manifests.refresh(route, tag)
            with contextlib.suppress(OCIError):
                return usable(await read(route.repository, tag))
        return usable(await read(route.repository, tag))
