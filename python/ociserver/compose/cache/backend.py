"""The cache itself: which registry answers what."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from ociserver._core import ByteRange
from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.filling import Fill
from ociserver.compose.cache.flights import Flights
from ociserver.compose.cache.growth import store_of
from ociserver.compose.cache.index import Entry, Index, Kind
from ociserver.compose.cache.locks import Locks
from ociserver.compose.cache.manifests import Manifests, is_down, warn
from ociserver.compose.cache.reader import open_fill
from ociserver.compose.cache.routing import Place, Routes
from ociserver.errors import OCIError
from ociserver.interface import (
    Backend,
    BlobReader,
    BlobWriter,
    Descriptor,
    Manifest,
    PushedManifest,
    complete,
    recall_of,
)
from ociserver.iterators import closing
from ociserver.store.modes import PRIVATE

__all__ = ["Cache"]

Item = TypeVar("Item")

TAG_LIFETIME_S: Final = 60.0
PATIENCE_S: Final = 5.0
RETRY_AFTER_S: Final = 10.0

_GETS: Final[Mapping[str, Kind]] = {"blob_get": "blob", "manifest_get": "manifest"}
"""Kinds of requests that use a content, and kinds of these."""

_UNKNOWN: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"})


_log = logging.getLogger("ociserver")


class _TooLargeError(Exception):
    """A content that the bound has no room for, whatever else goes."""


class Cache(Backend):
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
        max_bytes: bound of what is kept of upstream; what has not been used for the longest time goes.
        patience: seconds that upstream has to say what a tag is now; then the answer is what it was, with a warning.
        retry_after: seconds for which an upstream that failed is not asked about tags that are known.

    Raises:
        ValueError: a number is negative, or a host none.
    """

    def __init__(
        self,
        upstream: Any,
        local: Any,
        *,
        is_local: Callable[[str], bool] | None = None,
        tag_lifetime: float = TAG_LIFETIME_S,
        max_bytes: int | None = None,
        patience: float = PATIENCE_S,
        retry_after: float = RETRY_AFTER_S,
    ) -> None:
        if min(tag_lifetime, patience, retry_after, max_bytes or 0) < 0:
            raise ValueError("tag_lifetime, max_bytes, patience and retry_after must not be negative")
        upstreams = upstream if isinstance(upstream, Mapping) else {"": upstream}
        self._upstreams = {host: complete(backend) for host, backend in upstreams.items()}
        self._routes = Routes(self._upstreams)
        self._local = complete(local)
        self._is_local = is_local
        self._local_recall = recall_of(self._local)
        self._store = store_of(self._local)
        folder: Path | None = None if self._store is None else self._store.path
        modes = PRIVATE if self._store is None else self._store.modes
        self._index = Index(folder / "cache.db" if folder else None, modes)
        self._locks = Locks(folder / "filling" if folder else None, modes)
        self._flights = Flights()
        self._fills: dict[tuple[str, str], Fill] = {}
        self._eviction = Eviction(self._local, self._index, max_bytes)
        self._manifests = Manifests(
            self._local,
            self._index,
            self._eviction,
            self._flights,
            self._locks,
            tag_lifetime=tag_lifetime,
            patience=patience,
            retry_after=retry_after,
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._local)
            self._index.open()
            stack.callback(self._index.close)
            self._locks.open()
            for upstream in self._upstreams.values():
                await stack.enter_async_context(upstream)
            stack.push_async_callback(self._flights.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        place = self._routes.find(repository)
        try:
            reader = await self._local.get_blob(place.repository, digest, range)
        except OCIError as error:
            return await self._otherwise(place, error, lambda: self._fetch_blob(place, digest, range))
        self._eviction.use(Entry(place.repository, digest, "blob"), reader.descriptor.size)
        return reader

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        place = self._routes.find(repository)
        try:
            return await self._local.resolve_blob(place.repository, digest)
        except OCIError as error:
            return await self._otherwise(place, error, lambda: _upstream(place).resolve_blob(place.name, digest))

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        place = self._routes.find(repository)
        try:
            manifest = await self._local.get_manifest(place.repository, digest)
        except OCIError as error:
            await self._otherwise(place, error, lambda: self._manifests.fetch(place, digest))
            manifest = await self._local.get_manifest(place.repository, digest)
        self._eviction.use(Entry(place.repository, digest, "manifest"), manifest.descriptor.size)
        return manifest

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        place = self._routes.find(repository)
        try:
            return await self._local.resolve_manifest(place.repository, digest)
        except OCIError as error:
            await self._otherwise(place, error, lambda: self._manifests.fetch(place, digest))
        return await self._local.resolve_manifest(place.repository, digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        place = self._routes.find(repository)
        manifest = await self._by_tag(place, tag, self._local.get_tag)
        self._eviction.use(Entry(place.repository, manifest.descriptor.digest, "manifest"), manifest.descriptor.size)
        return manifest

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        place = self._routes.find(repository)
        return await self._by_tag(place, tag, self._local.resolve_tag)

    def recall(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        if self._local_recall is None:
            return None
        place = self._routes.find(repository)
        is_tag = ":" not in reference
        if is_tag and not self._manifests.was_just_checked(place, reference):
            return None
        try:
            found = self._local_recall(kind, place.repository, reference)
        except OCIError:
            return None  # upstream may have it
        if found is not None and kind in _GETS:
            # What it was used for has to be noted now and then, which is a write.
            entry = Entry(place.repository, found[0].digest, _GETS[kind])
            return found if self._eviction.was_just_used(entry) else None
        return found

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        self._check_push(repository)
        return await self._local.push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        self._check_push(repository)
        return await self._local.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        self._check_push(repository)
        return await self._local.push_blob_chunked_resume(repository, upload_id, offset=offset, digest=digest)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        self._check_push(to_repository)
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
        self._check_push(repository)
        owner, is_new = ("local", False) if self._is_local else self._index.claim(repository, "local")
        if owner == "upstream":
            raise _denied(repository)
        try:
            return await self._local.push_manifest(repository, content, media_type, digest=digest, tags=tags)
        except BaseException:
            if is_new:
                self._index.release(repository)
            raise

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self._local.delete_blob(repository, digest)
        self._index.forget(Entry(repository, digest, "blob"))

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self._local.delete_manifest(repository, digest)
        self._index.forget(Entry(repository, digest, "manifest"))

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self._local.delete_tag(repository, tag)
        self._manifests.forget(repository, tag)

    # Lister

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Those that something is kept of: an upstream may have millions."""
        return self._local.repositories(start_after=start_after, limit=limit)

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Upstream's, or those that are kept if it does not answer."""
        place = self._routes.find(repository)
        return self._list(
            place,
            lambda backend, name: backend.tags(name, start_after=start_after, limit=limit),
        )

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
        place = self._routes.find(repository)
        return self._list(
            place,
            lambda backend, name: backend.referrers(name, digest, artifact_type, start_after=start_after, limit=limit),
        )

    async def _list(self, place: Place, ask: Callable[[Backend, str], AsyncIterator[Item]]) -> AsyncIterator[Item]:
        if await self._is_upstreams(place):
            given = False
            try:
                async with closing(ask(_upstream(place), place.name)) as items:
                    async for item in items:
                        given = True
                        yield item
                return
            except Exception as error:
                is_known = self._index.owner(place.repository) is not None
                is_nothing = isinstance(error, OCIError) and error.code == "NAME_UNKNOWN" and not is_known
                # A part of a list would look whole.
                if given or not (is_nothing or (is_known and is_down(error))):
                    raise
                if is_known:
                    warn("upstream does not answer: this is the part of the list that is kept here")
        async with closing(ask(self._local, place.repository)) as items:
            async for item in items:
                yield item

    # Whose a repository is

    async def _is_upstreams(self, place: Place) -> bool:
        """Whether upstream is asked about it."""
        if place.upstream is None:
            return False
        if self._is_local is not None:
            return not self._is_local(place.repository)
        owner = self._index.owner(place.repository)
        if owner is None and await self._is_tagged(place.repository):
            # Pushed past the cache, or before there was one.
            owner = self._index.claim(place.repository, "local")[0]
        return owner != "local"

    async def _otherwise(self, place: Place, error: OCIError, ask: Callable[[], Awaitable[Item]]) -> Item:
        """Ask upstream, if the local error says only that something is not here."""
        if error.code not in _UNKNOWN or not await self._is_upstreams(place):
            raise error
        try:
            return await ask()
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

    def _check_push(self, repository: str) -> None:
        if self._is_local is not None:
            if not self._is_local(repository):
                raise OCIError("DENIED", f"{repository} is upstream's, and can only be read here")
        elif self._index.owner(repository) == "upstream":
            raise _denied(repository)

    # Bringing contents here

    async def _by_tag(self, place: Place, tag: str, read: Callable[[str, str], Awaitable[Item]]) -> Item:
        if not self._manifests.is_fresh(place, tag) and await self._is_upstreams(place):
            try:
                await self._manifests.refresh(place, tag)
            except OCIError as error:
                if error.code != "NAME_UNKNOWN":
                    raise
        try:
            return await read(place.repository, tag)
        except OCIError:
            if not self._manifests.is_fresh(place, tag) or not await self._is_upstreams(place):
                raise
        # Evicted, or deleted, since upstream was asked.
        self._manifests.forget(place.repository, tag)
        await self._manifests.refresh(place, tag)
        return await read(place.repository, tag)

    async def _fetch_blob(self, place: Place, digest: str, range: ByteRange | None) -> BlobReader:
        try:
            return await open_fill(self._fill(place, digest), range)
        except _TooLargeError:
            return await _upstream(place).get_blob(place.name, digest, range)

    def _fill(self, place: Place, digest: str) -> Fill:
        key = (place.repository, digest)
        fill = self._fills.get(key)
        if fill is None:
            entry = Entry(place.repository, digest, "blob")

            fill = self._fills[key] = Fill(
                place,
                digest,
                self._local,
                self._store,
                self._locks.lock("blob", *key),
                lambda size: self._admit(entry, size),
                lambda size: self._eviction.keep(entry, size),
            )
            flight = self._flights.start(("blob", *key), lambda: self._run(fill, place, entry))
            flight.add_done_callback(lambda flight: self._end(key, flight))
        return fill

    async def _run(self, fill: Fill, place: Place, entry: Entry) -> None:
        await self._borrow(place, entry)
        await fill.run()

    def _end(self, key: tuple[str, str], flight: asyncio.Task[None]) -> None:
        self._fills.pop(key).end(None if flight.cancelled() else flight.exception())

    def _admit(self, entry: Entry, size: int) -> None:
        """Upstream has it: so the repository is upstream's, unless it was pushed to meanwhile."""
        if not self._eviction.fits(size):
            raise _TooLargeError
        if self._index.claim(entry.repository, "upstream")[0] != "upstream":
            raise OCIError("BLOB_UNKNOWN")

    async def _borrow(self, place: Place, entry: Entry) -> None:
        """Link the blob of another repository, if upstream has it in this one too."""
        other = self._index.elsewhere(entry.digest)
        if other is None or other == place.repository or place.upstream is None:
            return
        try:
            size = (await place.upstream.resolve_blob(place.name, entry.digest)).size
            self._admit(entry, size)
            async with self._eviction.keep(entry, size):
                await self._local.mount_blob(other, place.repository, entry.digest)
        except Exception as error:
            # Whatever it is, fetching it meets it as well.
            _log.debug("%s is fetched, and not linked: %s", entry.digest, error)


def _upstream(place: Place) -> Backend:
    assert place.upstream
    return place.upstream


def _denied(repository: str) -> OCIError:
    return OCIError("DENIED", f"{repository} is kept of upstream, and can only be read here")
