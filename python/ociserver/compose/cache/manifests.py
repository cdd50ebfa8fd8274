"""Manifests and tags: what is fetched, when a tag is asked for again, and what is said when nobody answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from ociserver._core import digest_of
from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.filling import wrong_content
from ociserver.compose.cache.flights import Flights
from ociserver.compose.cache.index import Entry, Index
from ociserver.compose.cache.locks import Locks
from ociserver.compose.cache.routing import Place
from ociserver.context import request_context
from ociserver.errors import HTTPError, OCIError, marshal_error
from ociserver.interface import Backend, Manifest

__all__ = ["Manifests", "is_down", "warn"]

_REMEMBERED: Final = 10_000

_log = logging.getLogger("ociserver")


@dataclass(frozen=True, slots=True)
class _Rest:
    """An upstream that is not asked about tags for a while."""

    until: float
    why: str


class Manifests:
    """Brings manifests into the local registry, which answers then.

    Args:
        local: the registry that keeps them.
        index: what is kept.
        eviction: makes room.
        flights: of this process.
        locks: between processes.
        tag_lifetime: seconds for which what upstream said of a tag is believed.
        patience: seconds that upstream has to answer, where there is an older answer to give instead.
        retry_after: seconds for which an upstream that failed is not asked, where there is one.
    """

    def __init__(
        self,
        local: Backend,
        index: Index,
        eviction: Eviction,
        flights: Flights,
        locks: Locks,
        *,
        tag_lifetime: float,
        patience: float,
        retry_after: float,
    ) -> None:
        self._local = local
        self._index = index
        self._eviction = eviction
        self._flights = flights
        self._locks = locks
        self._tag_lifetime = tag_lifetime
        self._patience = patience
        self._retry_after = retry_after
        self._checked: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._resting: dict[int, _Rest] = {}

    async def refresh(self, place: Place, tag: str) -> None:
        """Make the tag here what it is upstream, or say in a warning that it may not be."""
        have = await self._has_tag(place, tag)
        rest = self._resting.get(id(place.upstream))
        if have and rest is not None and time.monotonic() < rest.until:
            warn(rest.why)
            return
        flight = self._flights.start(("tag", place.repository, tag), lambda: self._revalidate(place, tag))
        try:
            async with asyncio.timeout(self._patience if have else None):
                await asyncio.shield(flight)
        except Exception as error:
            if not have or not is_down(error):
                raise
            why = f"upstream does not answer ({_reason(error)}): this is what the tag was when it did"
            _log.warning("%s: %s", place.repository, why)
            self._resting[id(place.upstream)] = _Rest(time.monotonic() + self._retry_after, why)
            warn(why)

    async def fetch(self, place: Place, digest: str) -> None:
        """Bring a manifest here."""
        await asyncio.shield(
            self._flights.start(("manifest", place.repository, digest), lambda: self._fetch(place, digest))
        )

    def forget(self, repository: str, tag: str) -> None:
        """Ask for a tag again at its next use."""
        self._checked.pop((repository, tag), None)
        self._index.forget_tag(repository, tag)

    async def _revalidate(self, place: Place, tag: str) -> None:
        async with self._locks.hold("tag", place.repository, tag):
            if self.is_fresh(place, tag):
                return  # another process has just asked
            assert place.upstream
            try:
                if not await self._has_tag(place, tag):
                    manifest = await place.upstream.get_tag(place.name, tag)
                else:
                    wanted = (await place.upstream.resolve_tag(place.name, tag)).digest
                    manifest = await self._find(place, wanted)
                await self._keep(place, manifest, manifest.descriptor.digest, (tag,))
            except OCIError as error:
                if error.code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
                    await self._drop(place, tag)
                raise
            self._note(place, tag, manifest.descriptor.digest)

    async def _find(self, place: Place, digest: str) -> Manifest:
        try:
            return await self._local.get_manifest(place.repository, digest)
        except OCIError:
            assert place.upstream
            return await place.upstream.get_manifest(place.name, digest)

    async def _fetch(self, place: Place, digest: str) -> None:
        async with self._locks.hold("manifest", place.repository, digest):
            if not await self._has(place, digest):
                assert place.upstream
                await self._keep(place, await place.upstream.get_manifest(place.name, digest), digest, ())

    async def _keep(self, place: Place, manifest: Manifest, digest: str, tags: tuple[str, ...]) -> None:
        content = manifest.content
        if digest_of(content, digest.partition(":")[0]) != digest:
            raise wrong_content(digest)
        if self._index.claim(place.repository, "upstream")[0] != "upstream":
            return  # pushed meanwhile
        entry = Entry(place.repository, digest, "manifest")
        size = 0 if await self._has(place, digest) else len(content)
        try:
            async with self._eviction.keep(entry, size):
                await self._local.push_manifest(
                    place.repository, content, manifest.descriptor.media_type, digest=digest, tags=tags
                )
        except OCIError as error:
            if error.code != "MANIFEST_BLOB_UNKNOWN":
                raise
            raise HTTPError(
                500, "the cache's local registry wants contents before their manifest: set lax_child_references"
            ) from None

    async def _drop(self, place: Place, tag: str) -> None:
        """Upstream has the tag no more."""
        if self._index.owner(place.repository) == "upstream" and await self._has_tag(place, tag):
            await self._local.delete_tag(place.repository, tag)
        self.forget(place.repository, tag)

    async def _has(self, place: Place, digest: str) -> bool:
        try:
            await self._local.resolve_manifest(place.repository, digest)
        except OCIError:
            return False
        return True

    async def _has_tag(self, place: Place, tag: str) -> bool:
        try:
            await self._local.resolve_tag(place.repository, tag)
        except OCIError:
            return False
        return True

    def is_fresh(self, place: Place, tag: str) -> bool:
        """Whether upstream was asked about a tag not long ago."""
        if self.was_just_checked(place, tag):
            return True
        # Another process may have asked since.
        key = place.repository, tag
        self._remember(key, self._index.checked(*key))
        return self.was_just_checked(place, tag)

    def was_just_checked(self, place: Place, tag: str) -> bool:
        """Likewise, as far as this process knows. From any thread."""
        checked = self._checked.get((place.repository, tag), 0.0)
        return checked <= time.time() < checked + self._tag_lifetime

    def _note(self, place: Place, tag: str, digest: str) -> None:
        now = time.time()
        self._index.check(place.repository, tag, digest, now)
        self._remember((place.repository, tag), now)
        self._resting.pop(id(place.upstream), None)

    def _remember(self, key: tuple[str, str], checked: float) -> None:
        self._checked[key] = checked
        if len(self._checked) > _REMEMBERED:
            self._checked.popitem(last=False)


def is_down(error: BaseException) -> bool:
    """Whether an error says nothing about the content: no answer, a fault of the server, or too many requests."""
    if isinstance(error, OCIError) and error.code == "DIGEST_INVALID":
        return False
    status = marshal_error(error).status
    return status >= 500 or status in (408, 429)


def warn(text: str) -> None:
    """Tell the client of the current request."""
    context = request_context.get()
    if context is not None:
        context.warn(text)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it is too slow"
    wire = marshal_error(error)
    return f"{wire.status} {wire.code}" if isinstance(error, (OCIError, HTTPError)) else type(error).__name__
