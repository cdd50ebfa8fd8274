"""The reads of the store: from its read cache, its database, and its files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from ociserver._core import ByteRange
from ociserver.errors import OCIError
from ociserver.interface import BlobReader, Descriptor, Manifest, Url
from ociserver.store import manifests, reads, writes
from ociserver.store.blobs import Blobs
from ociserver.store.inline_reader import InlineReader
from ociserver.store.lists import Lists
from ociserver.store.nowait_reads import NowaitReads
from ociserver.store.read_cache import ReadCache
from ociserver.store.reads import Link, Resolved, StoredContent
from ociserver.store.recent_manifests import RecentManifests
from ociserver.store.transaction import Metadata, Transaction

__all__ = ["Reading"]

RENEWAL_WAIT_S: Final = 0.1
"""Seconds that a HEAD waits for the renewal of its content: less than a slow disk or a locked database takes."""

_log = logging.getLogger("ociserver")


class Reading(Lists, reads_nowait=True):
    """The `Reader` of the store.

    A content whose file is missing, or has another size than was recorded, counts as unknown. Then a client pushes it
    again, which repairs it.

    Args:
        database: has the metadata, and small contents.
        blobs: has large contents.
        renew_after_s: a HEAD renews a blob or a manifest at most this often, in seconds.
    """

    def __init__(self, database: Metadata, blobs: Blobs, renew_after_s: float) -> None:
        self.database = database
        self.blobs = blobs
        self.renew_after_s = renew_after_s
        self._read_cache = ReadCache(database.version)
        self._recent_manifests = RecentManifests(database.cache_manifests_s)
        self._nowait_reads = NowaitReads(database, self._read_cache)

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be written at present, as a text without paths; None if, as far as is known, it can."""
        return self.database.unavailable or self.blobs.unavailable

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        seen: str | None = None
        while True:
            descriptor, copy, _, _ = await self._find_blob(repository, digest)
            if copy.bad:
                raise OCIError("BLOB_UNKNOWN")
            span = (0, copy.size) if range is None else range.resolve(copy.size)
            if span is None:
                raise OCIError("RANGE_INVALID", detail={"size": copy.size})
            if copy.content is not None:
                return InlineReader(descriptor, copy.content, *span)
            assert copy.key is not None
            reader = await self.blobs.read(copy.key, descriptor, *span)
            if reader is not None:
                return reader
            if copy.key == seen:
                raise OCIError("BLOB_UNKNOWN")
            # A push may have replaced the copy since it was found. Then the next search finds another key.
            seen = copy.key

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        descriptor, copy, _, _ = await self._find_blob(repository, digest)
        return None if copy.bad or copy.key is None else await self.blobs.locate(copy.key, descriptor)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        key = (repository, digest, "manifest")
        manifest: Manifest | None = self._read_cache.get(key) or self._recent_manifests.get(repository, digest)
        if manifest is None:
            generation, begun = self._read_cache.begin(), self._recent_manifests.begin()
            manifest = await self.database.read(reads.find_manifest(repository, digest))
            generation.put(key, manifest, manifest.content)
            self._recent_manifests.put(begun, repository, manifest)
        return manifest

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        key = (repository, tag, "manifest")
        manifest: Manifest | None = self._read_cache.get(key)
        if manifest is None:
            generation = self._read_cache.begin()
            manifest = await self.database.read(reads.find_tag(repository, tag))
            generation.put(key, manifest, manifest.content)
        return manifest

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        link = await self._find_blob(repository, digest)
        if not self._is_whole(link.copy):
            again = await self._find_blob(repository, digest)
            if again.copy.key == link.copy.key or not self._is_whole(again.copy):
                raise OCIError("BLOB_UNKNOWN")
            link = again  # a push has replaced the copy
        renewal = partial(writes.renew, link.repository_id, link.copy.id, int(self.database.now()))
        if self._is_due(link.renewed) and not await self._renew(renewal):
            raise OCIError("BLOB_UNKNOWN")
        return link.descriptor

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        key = (repository, digest, "resolved")
        resolved: Resolved | None = self._read_cache.get(key)
        if resolved is None:
            generation = self._read_cache.begin()
            resolved = await self.database.read(reads.resolve_manifest(repository, digest))
            generation.put(key, resolved, None)
        renewal = partial(manifests.renew_manifest, resolved.manifest_id, int(self.database.now()))
        if self._is_due(resolved.renewed) and not await self._renew(renewal):
            raise OCIError("MANIFEST_UNKNOWN")
        return resolved.descriptor

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        key = (repository, tag, "resolved")
        resolved: Resolved | None = self._read_cache.get(key)
        if resolved is None:
            generation = self._read_cache.begin()
            resolved = await self.database.read(reads.resolve_tag(repository, tag))
            generation.put(key, resolved, None)
        # No renewal: the tag keeps its manifest. The age of the manifest is counted from the end of its last tag.
        return resolved.descriptor

    def read_nowait(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        if kind == "manifest_get":
            manifest: Manifest | None = self._read_cache.get((repository, reference, "manifest"))
            manifest = manifest or self._recent_manifests.get(repository, reference)
            manifest = manifest or self._nowait_reads.manifest(repository, reference)
            return None if manifest is None else (manifest.descriptor, manifest.content)
        if kind == "manifest_head":
            resolved: Resolved | None = self._read_cache.get((repository, reference, "resolved"))
            resolved = resolved or self._nowait_reads.resolved(repository, reference)
            is_due = resolved is not None and ":" in reference and self._is_due(resolved.renewed)
            return None if resolved is None or is_due else (resolved.descriptor, None)
        link: Link | None = self._read_cache.get((repository, reference, "blob"))
        link = link or self._nowait_reads.blob(repository, reference)
        if link is None or link.copy.content is None or link.copy.bad:
            # The file may be missing or too short, which only the event loop may check.
            return None
        if kind == "blob_head" and self._is_due(link.renewed):
            return None
        return link.descriptor, link.copy.content

    async def _find_blob(self, repository: str, digest: str) -> Link:
        key = (repository, digest, "blob")
        link: Link | None = self._read_cache.get(key)
        if link is None:
            generation = self._read_cache.begin()
            link = await self.database.read(reads.find_blob(repository, digest))
            generation.put(key, link, link.copy.content)
        return link

    def _is_whole(self, copy: StoredContent) -> bool:
        return not copy.bad and (copy.key is None or self.blobs.seems_whole(copy.key, copy.size))

    def _is_due(self, renewed: int) -> bool:
        """Whether a HEAD has to renew a content that was last renewed at this time."""
        return self.database.now() - renewed > self.renew_after_s

    async def _renew(self, make: Callable[[], Transaction[bool]]) -> bool:
        """Renew a link or a manifest. False if it was deleted meanwhile."""
        if self.unavailable:
            return True
        renewal = asyncio.ensure_future(self.database.write(make, durable=False))
        await asyncio.wait([renewal], timeout=RENEWAL_WAIT_S)
        if not renewal.done():
            renewal.add_done_callback(_log_failure)
            return True
        _log_failure(renewal)
        return renewal.exception() is not None or renewal.result()


def _log_failure(renewal: asyncio.Future[bool]) -> None:
    if not renewal.cancelled() and (error := renewal.exception()) is not None:
        _log.warning("a HEAD could not renew its blob or manifest, which collection may delete sooner: %s", error)
