"""The cache itself: which registry answers what."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ociserver._core import ByteRange
from ociserver.adapt import complete, read_nowait_of
from ociserver.compose.cache.blobs import Blobs
from ociserver.compose.cache.eviction import USE_AFTER_S, Eviction
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.lists import Ask, Lists
from ociserver.compose.cache.locks import Locks
from ociserver.compose.cache.manifests import Found, Manifests, usable
from ociserver.compose.cache.partial_file import store_of
from ociserver.compose.cache.queries import Content
from ociserver.compose.cache.routing import Route, Routes
from ociserver.compose.cache.tidying import Tidying
from ociserver.compose.cache.upstream import Upstream
from ociserver.errors import OCIError
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
from ociserver.single_flight import SingleFlight

__all__ = ["Cache"]

Item = TypeVar("Item")

TAG_LIFETIME_S: Final = 60.0
UPSTREAM_TIMEOUT_S: Final = 5.0
RETRY_AFTER_S: Final = 10.0

LIST_TIMEOUT_S: Final = 0.8
"""For a list that has another answer: with what follows, its client has it within a second."""

ANSWER_TIMEOUT_S: Final = 15.0
"""For what has no other answer: registries that fetch it themselves need some time, and clients wait for longer."""

FOLDER: Final = "downloads"
"""Name of the folder of locks in that of a store."""

ATTEMPTS: Final = 3
"""Attempts to fetch a manifest that is evicted again before it can be read."""

_UNKNOWN: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"})


class Cache(Backend, reads_nowait=True):
    """Answers from `local`, and brings there from upstream what is asked for and is not there.

    A repository is upstream's or local. It is local if it was pushed to before it was fetched: then upstream is never
    asked for it. To one that was fetched a push is DENIED. With `is_local` the caller decides instead.

    Access is checked in front of a cache, and not behind it: what was fetched for one client is given to all.

    Args:
        upstream: the registry to cache; or several by the host that they stand for, such as `docker.io`: a client
            names it by the `ns` parameter or at the beginning of the repository. "" stands for all other names.
        local: what keeps the contents: accepts manifests before their children (`lax_child_references`). If it is a
            `Store`, any number of processes may use the cache together, and what it knows outlives them.
        is_local: whether a repository is local; all others can only be read.
        tag_lifetime: seconds for which a tag is not asked for again.
        max_bytes: bytes that contents of upstream may take on the disk; the least recently used are evicted.
        upstream_timeout: seconds that upstream has to resolve a tag. After that the answer is what is kept here, with
            a warning.
        list_timeout: the same for the beginning of a list; it is never longer than `upstream_timeout`.
        answer_timeout: seconds that upstream has to begin an answer where there is no other one. After that it is 504.
        retry_after: seconds for which an upstream that failed is not asked about tags and lists that are kept here;
            then one request tries it.
        use_after: seconds after which a further use of a content is recorded, for the order of eviction.

    Raises:
        ValueError: a number is negative, or a host cannot be one.
    """

    def __init__(
        self,
        upstream: Any,
        local: Any,
        *,
        is_local: Callable[[str], bool] | None = None,
        tag_lifetime: float = TAG_LIFETIME_S,
        max_bytes: int | None = None,
        upstream_timeout: float = UPSTREAM_TIMEOUT_S,
        list_timeout: float = LIST_TIMEOUT_S,
        answer_timeout: float = ANSWER_TIMEOUT_S,
        retry_after: float = RETRY_AFTER_S,
        use_after: float = USE_AFTER_S,
    ) -> None:
        seconds = (tag_lifetime, upstream_timeout, list_timeout, answer_timeout, retry_after, use_after)
        if min(*seconds, max_bytes or 0) < 0:
            raise ValueError("max_bytes, lifetimes, timeouts, retry_after and use_after must not be negative")
        given = upstream if isinstance(upstream, Mapping) else {"": upstream}
        self._upstreams = {
            host: Upstream(complete(backend), host, retry_after, answer_timeout) for host, backend in given.items()
        }
        self._routes = Routes(self._upstreams)
        self._local = complete(local)
        self._is_local = is_local
        self._local_read_nowait = read_nowait_of(self._local)
        store = store_of(self._local)
        self._index = Index.of(store)
        self._locks = Locks(None) if store is None else Locks(store.path / FOLDER, store.modes)
        self._flights: SingleFlight[Hashable, None] = SingleFlight(own_context=True)
        self._eviction = Eviction(self._local, store, self._index, max_bytes, use_after)
        shared = (self._index, self._eviction, self._flights, self._locks)
        self._blobs = Blobs(self._local, store, *shared)
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
            return await self._otherwise(route, error, lambda _: self._blobs.get(route, digest, range))
        self._eviction.use(Content("blob", digest))
        return reader

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        route = self._routes.find(repository)
        try:
            return await self._local.resolve_blob(route.repository, digest)
        except OCIError as error:
            return await self._otherwise(route, error, lambda upstream: upstream.resolve_blob(route.name, digest))

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
            return None  # upstream may have it
        if found is None or not is_media_type(found[0].media_type):
            return None
        if kind == "blob_get":
            used = Content("blob", found[0].digest)
        elif kind == "manifest_get":
            used = Content("manifest", found[0].digest, route.repository)
        else:
            return found
        # A use has to be recorded now and then, which the usual way does.
        return found if self._eviction.was_just_used(used) else None

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        await self._check_push(repository)
        return await self._local.push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        await self._check_push(repository)
        return await self._local.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        await self._check_push(repository)
        return await self._local.push_blob_chunked_resume(repository, upload_id, offset=offset, digest=digest)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        await self._check_push(to_repository)
        return await self._local.mount_blob(from_repository, to_repository, digest)

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        await self._check_push(repository)
        owner, is_new = ("local", False) if self._is_local else await self._index.claim(repository, "local")
        if owner == "upstream":
            raise _denied(repository)
        try:
            return await self._local.push_manifest(repository, content, media_type, digest=digest, tags=tags)
        except BaseException:
            if is_new:
                await self._index.release([repository])
            raise

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self._local.delete_blob(repository, digest)
        if await self._is_cached(repository):
            await self._eviction.deleted(Content("blob", digest), repository)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self._local.delete_manifest(repository, digest)
        if await self._is_cached(repository):
            await self._eviction.deleted(Content("manifest", digest, repository), repository)

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self._local.delete_tag(repository, tag)
        await self._manifests.forget(repository, tag)

    # Lister

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Those that something is kept of: an upstream may have millions."""
        return self._local.repositories(start_after=start_after, limit=limit)

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Upstream's, or those that are kept if it does not answer."""
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
        """Upstream's, or those that are kept if it does not answer."""
        route = self._routes.find(repository)
        return self._list(
            route,
            lambda backend, name: backend.referrers(name, digest, artifact_type, start_after=start_after, limit=limit),
        )

    async def _list(self, route: Route, ask: Ask[Item]) -> AsyncIterator[Item]:
        if await self._is_upstreams(route):
            is_known = await self._index.owner(route.repository) is not None
            items = self._lists.upstreams(route, ask, is_known=is_known)
        else:
            items = self._lists.locals(route, ask)
        async with closing(items) as found:
            async for item in found:
                yield item

    # Whose a repository is

    async def _is_upstreams(self, route: Route) -> bool:
        """Whether upstream is asked about it."""
        if route.upstream is None:
            return False
        if self._is_local is not None:
            return not self._is_local(route.repository)
        owner = await self._index.owner(route.repository)
        if owner is None and await self._is_tagged(route.repository):
            # Pushed past the cache, or before there was one.
            owner = (await self._index.claim(route.repository, "local"))[0]
        return owner != "local"

    async def _is_cached(self, repository: str) -> bool:
        """Whether the contents of a repository come from upstream."""
        if self._is_local is not None and self._is_local(repository):
            return False
        return await self._index.owner(repository) == "upstream"

    async def _otherwise(self, route: Route, error: OCIError, ask: Callable[[Upstream], Awaitable[Item]]) -> Item:
        """Ask upstream, if the local error says only that something is not here."""
        if error.code not in _UNKNOWN or not await self._is_upstreams(route):
            raise error
        assert route.upstream
        try:
            return await ask(route.upstream)
        except OCIError as other:
            # Where upstream does not even know the repository, the local registry has more to say.
            raise error if other.code == "NAME_UNKNOWN" else other from None

    async def _is_tagged(self, repository: str) -> bool:
        try:
            async with closing(self._local.tags(repository, limit=1)) as tags:
                async for _ in tags:
                    return True
        except OCIError:
            pass
        return False

    async def _check_push(self, repository: str) -> None:
        if self._is_local is not None:
            if not self._is_local(repository):
                raise OCIError("DENIED", f"{repository} is upstream's, and can only be read here")
        elif await self._index.owner(repository) == "upstream":
            raise _denied(repository)

    # Manifests

    async def _by_digest(self, route: Route, digest: str, read: Callable[[str, str], Awaitable[Found]]) -> Found:
        for _ in range(ATTEMPTS):
            try:
                return usable(await read(route.repository, digest))
            except OCIError as error:
                await self._otherwise(route, error, lambda _: self._manifests.fetch(route, digest))
        return usable(await read(route.repository, digest))

    async def _by_tag(self, route: Route, tag: str, read: Callable[[str, str], Awaitable[Found]]) -> Found:
        if not await self._manifests.is_fresh(route, tag) and await self._is_upstreams(route):
            try:
                await self._manifests.refresh(route, tag)
            except OCIError as error:
                if error.code != "NAME_UNKNOWN":
                    raise
        try:
            return usable(await read(route.repository, tag))
        except OCIError:
            if not await self._manifests.is_fresh(route, tag) or not await self._is_upstreams(route):
                raise
        for _ in range(ATTEMPTS):
            # Evicted, or deleted, since upstream was asked.
            await self._manifests.forget(route.repository, tag)
            await self._manifests.refresh(route, tag)
            with contextlib.suppress(OCIError):
                return usable(await read(route.repository, tag))
        return usable(await read(route.repository, tag))


def _denied(repository: str) -> OCIError:
    return OCIError("DENIED", f"{repository} is kept of upstream, and can only be read here")
