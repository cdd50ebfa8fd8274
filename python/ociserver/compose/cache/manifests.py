"""Fetches manifests, revalidates tags, and serves stale answers while upstream fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import nullcontext, suppress
from typing import Final, TypeVar

from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.health import briefly, is_down, warn
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.locks import Locks
from ociserver.compose.cache.queries import Content
from ociserver.compose.cache.routing import Route
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Backend, Descriptor, Manifest
from ociserver.lru import LRU
from ociserver.media_types import fetched_type, is_media_type
from ociserver.single_flight import SingleFlight

__all__ = ["Found", "Manifests", "usable"]

Found = TypeVar("Found", bound=Manifest | Descriptor)

MAX_REMEMBERED: Final = 10_000
"""Tags whose last revalidation is in memory; about 250 bytes each."""

_log = logging.getLogger("ociserver")


class Manifests:
    """Fetches manifests into the local registry, which then answers.

    Args:
        local: the registry that keeps the contents.
        index: records what is kept.
        eviction: makes room.
        flights: work of this process that several requests share.
        locks: between processes.
        tag_lifetime: seconds for which upstream's answer about a tag is valid.
        upstream_timeout: seconds that upstream has to answer if there is an older answer.
    """

    def __init__(
        self,
        local: Backend,
        index: Index,
        eviction: Eviction,
        flights: SingleFlight[Hashable, None],
        locks: Locks,
        *,
        tag_lifetime: float,
        upstream_timeout: float,
    ) -> None:
        self._local = local
        self._index = index
        self._eviction = eviction
        self._flights = flights
        self._locks = locks
        self._tag_lifetime = tag_lifetime
        self._timeout = upstream_timeout
        self._checked: LRU[tuple[str, str], float] = LRU(MAX_REMEMBERED)

    async def refresh(self, route: Route, tag: str) -> None:
        """Revalidate a tag with upstream. If that fails and the tag is kept here, add a warning instead."""
        assert route.upstream
        health = route.upstream.health
        is_known = await self._tagged(route, tag) is not None
        why = health.why_not(route.name) if is_known else None
        if why is None:
            try:
                async with asyncio.timeout(self._timeout if is_known else None):
                    await self._flights.do(("tag", route.repository, tag), lambda: self._revalidate(route, tag))
                return
            except Exception as error:
                if not is_known or not is_down(error):
                    raise
                why = health.failed(route.name, error)
                _log.warning("%s: %s", route.repository, why)
        warn(f"{why}: this is what the tag was before")

    async def fetch(self, route: Route, digest: str) -> None:
        """Fetch a manifest."""
        await self._flights.do(("manifest", route.repository, digest), lambda: self._fetch(route, digest))

    async def forget(self, repository: str, tag: str) -> None:
        """Revalidate a tag at its next use."""
        self._checked.pop((repository, tag))
        await self._index.forget_tag(repository, tag)

    async def is_fresh(self, route: Route, tag: str) -> bool:
        """Whether a tag was revalidated within its lifetime."""
        key = route.repository, tag
        if self._is_young(self._checked.get(key)):
            return True
        # Another process may have asked in the meantime.
        checked = await self._index.checked(*key)
        self._checked.put(key, checked)
        return self._is_young(checked)

    def was_just_checked(self, route: Route, tag: str) -> bool:
        """Whether this process knows that a tag was revalidated within its lifetime. Any thread may call this."""
        return self._is_young(self._checked.peek((route.repository, tag)))

    def _is_young(self, checked: float | None) -> bool:
        # A time in the future means that the clock was set back.
        return checked is not None and checked <= self._index.now() < checked + self._tag_lifetime

    async def _revalidate(self, route: Route, tag: str) -> None:
        upstream = route.upstream
        assert upstream
        async with self._locks.hold("tag", route.repository, tag):
            if await self.is_fresh(route, tag):
                return  # another process has just asked
            kept = await self._tagged(route, tag)
            try:
                # If there is another answer, the client does not retry for long.
                with briefly() if kept else nullcontext():
                    if kept is None:
                        manifest = await upstream.get_tag(route.name, tag)
                    else:
                        manifest = await self._named(route, await upstream.resolve_tag(route.name, tag))
            except OCIError as error:
                if error.code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
                    await self._drop(route, tag)
                raise
            if kept != manifest:
                await self._keep(route, manifest, (tag,))
            await self._note(route, tag, manifest.descriptor.digest)

    async def _named(self, route: Route, named: Descriptor) -> Manifest:
        """The manifest that upstream's descriptor names, from the local registry if it has the manifest."""
        assert route.upstream
        try:
            content = (await self._local.get_manifest(route.repository, named.digest)).content
        except OCIError:
            return await route.upstream.get_manifest(route.name, named.digest)
        # Use the type that upstream gives now: the kept type may be wrong.
        kind = fetched_type(content, named.media_type)
        if kind is None:
            return await route.upstream.get_manifest(route.name, named.digest)
        return Manifest(Descriptor(kind, named.digest, len(content)), content)

    async def _fetch(self, route: Route, digest: str) -> None:
        async with self._locks.hold("manifest", route.repository, digest):
            if await self._here(self._local.resolve_manifest(route.repository, digest)) is None:
                assert route.upstream
                await self._keep(route, await route.upstream.get_manifest(route.name, digest), ())

    async def _keep(self, route: Route, manifest: Manifest, tags: tuple[str, ...]) -> None:
        if (await self._index.claim(route.repository, "upstream"))[0] != "upstream":
            return  # a client has pushed to it in the meantime
        found = manifest.descriptor
        content = Content("manifest", found.digest, route.repository)

        async def push() -> None:
            with suppress(OCIError):
                kept = await self._local.resolve_manifest(route.repository, found.digest)
                if kept.media_type != found.media_type:
                    # A registry keeps the media type of a manifest. Here upstream decides, and may have corrected it.
                    await self._local.delete_manifest(route.repository, found.digest)
            await self._local.push_manifest(
                route.repository, manifest.content, found.media_type, digest=found.digest, tags=tags
            )

        try:
            if await self._has(route, found.digest):
                await push()
                await self._eviction.count(content, route.repository, found.size)
            else:
                async with self._eviction.keep(content, route.repository, found.size):
                    await push()
        except OCIError as error:
            raise _translated(error) from None

    async def _drop(self, route: Route, tag: str) -> None:
        """Delete a tag that upstream no longer has."""
        if await self._index.owner(route.repository) == "upstream" and await self._has_tag(route, tag):
            await self._local.delete_tag(route.repository, tag)
        await self.forget(route.repository, tag)

    async def _tagged(self, route: Route, tag: str) -> Manifest | None:
        """The local manifest of a tag; None if it cannot be served."""
        return await self._here(self._local.get_tag(route.repository, tag))

    async def _here(self, asking: Awaitable[Found]) -> Found | None:
        try:
            return usable(await asking)
        except OCIError:
            return None

    async def _has(self, route: Route, digest: str) -> bool:
        return await _succeeds(lambda: self._local.resolve_manifest(route.repository, digest))

    async def _has_tag(self, route: Route, tag: str) -> bool:
        return await _succeeds(lambda: self._local.resolve_tag(route.repository, tag))

    async def _note(self, route: Route, tag: str, digest: str) -> None:
        now = self._index.now()
        await self._index.check_tag(route.repository, tag, digest, now)
        self._checked.put((route.repository, tag), now)


def usable(found: Found) -> Found:
    """Check that a manifest of the local registry can be served.

    Raises:
        OCIError: MANIFEST_UNKNOWN if an earlier version kept it with an invalid media type. The cache fetches it again.
    """
    descriptor = found.descriptor if isinstance(found, Manifest) else found
    if not is_media_type(descriptor.media_type):
        raise OCIError("MANIFEST_UNKNOWN")
    return found


async def _succeeds(ask: Callable[[], Awaitable[object]]) -> bool:
    try:
        await ask()
    except OCIError:
        return False
    return True


def _translated(error: OCIError) -> Exception:
    """An error of the local registry, translated for a client that has only read."""
    if error.code == "MANIFEST_BLOB_UNKNOWN":
        return HTTPError(
            500, "the cache's local registry requires the children of a manifest first: set lax_child_references"
        )
    if error.code == "MANIFEST_INVALID":
        return HTTPError(502, f"the cache cannot keep upstream's manifest: {error.message}")
    return error
