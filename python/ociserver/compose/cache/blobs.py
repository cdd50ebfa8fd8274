"""Fetches missing blobs. All requests for a blob, in all processes, share one download."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Hashable
from typing import Final

from ociserver._core import ByteRange
from ociserver.compose.cache.download import Download, State
from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.fetching import Fetching, UnreadError
from ociserver.compose.cache.health import is_down
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.locks import Lock, Locks
from ociserver.compose.cache.queries import Content
from ociserver.compose.cache.reader import EvictedError, open_download
from ociserver.compose.cache.room import Room
from ociserver.compose.cache.routing import Route
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Backend, BlobReader, Descriptor
from ociserver.single_flight import SingleFlight
from ociserver.store.blob_folder import BlobFolder

__all__ = ["Blobs"]

ATTEMPTS: Final = 3
"""Attempts to fetch a blob that is evicted before it can be opened."""

_log = logging.getLogger("ociserver")


class Blobs:
    """The downloads of this process.

    Args:
        local: the registry that keeps the contents.
        folder: has the files of uploads of `local`; None if there are none.
        index: records what is kept.
        eviction: makes room.
        flights: work of this process that several requests share.
        locks: between processes.
        room: of temporary files.
    """

    def __init__(
        self,
        local: Backend,
        folder: BlobFolder | None,
        index: Index,
        eviction: Eviction,
        flights: SingleFlight[Hashable, None],
        locks: Locks,
        room: Room,
    ) -> None:
        self._local = local
        self._index = index
        self._eviction = eviction
        self._flights = flights
        self._locks = locks
        self._has_files = folder is not None
        self._fetching = Fetching(local, folder, index, eviction, room)
        self._downloads: dict[tuple[str, str], Download] = {}

    async def get(self, route: Route, digest: str, range: ByteRange | None) -> BlobReader:
        """Open a missing blob, or a range of it, while it is downloaded from upstream."""

        def open_kept(range: ByteRange | None) -> Awaitable[BlobReader]:
            return self._local.get_blob(route.repository, digest, range)

        async def open_rest(range: ByteRange) -> BlobReader:
            try:
                return await open_kept(range)
            except OCIError as error:
                if error.code != "BLOB_UNKNOWN":
                    raise
                return await self.get(route, digest, range)  # it is evicted already

        attempt = 0
        while True:
            attempt += 1
            download = self._download(route, digest)
            try:
                return await open_download(download, range, open_kept, open_rest)
            except (EvictedError, UnreadError):
                if attempt == ATTEMPTS:
                    raise OCIError("BLOB_UNKNOWN") from None

    async def clear(self, lock: Lock) -> None:
        """Delete the partial file of the last holder of a lock, which was killed."""
        await self._fetching.clear(lock)

    def _download(self, route: Route, digest: str) -> Download:
        """The download of a blob. Starts one if there is none."""
        key = (route.repository, digest)
        download = self._downloads.get(key)
        if download is None:
            download = self._downloads[key] = Download(is_temporary=not self._has_files)
            flight = self._flights.start(("blob", *key), lambda: self._run(download, route, digest))
            flight.add_done_callback(lambda flight: self._end(key, flight))
        return download

    def _end(self, key: tuple[str, str], flight: asyncio.Task[None]) -> None:
        download = self._downloads.pop(key)
        error = None if flight.cancelled() else flight.exception()
        download.fail(error if isinstance(error, Exception) else HTTPError(503, "the cache is closing"))
        download.end()

    async def _run(self, download: Download, route: Route, digest: str) -> None:
        await self._mount_existing(route, digest)
        lock = self._locks.lock("blob", route.repository, digest)
        while not await lock.try_hold():
            is_complete = await self._fetching.follow(download, digest, lock)
            if not is_complete and download.state is State.COMING:
                # The process that fetched the blob has failed or was killed. Nobody has verified the bytes.
                download.restart()
            found = await self._find(route, digest)
            if found is not None:
                await download.keep(found)
                return
            if is_complete:
                # It was not kept, or is evicted already. Further readers of this process can share the open file.
                download.pass_on()
                await download.unread()
                return
        try:
            if lock.left:
                await self._fetching.clear(lock)
            found = await self._find(route, digest)
            if found is not None:
                await download.keep(found)
            else:
                await self._fetching.fetch(download, route, digest, lock)
        finally:
            lock.release()

    async def _find(self, route: Route, digest: str) -> Descriptor | None:
        """The blob, if the local registry has it."""
        try:
            return await self._local.resolve_blob(route.repository, digest)
        except OCIError:
            return None

    async def _mount_existing(self, route: Route, digest: str) -> None:
        """Mount the blob from another repository, if upstream has it in this one too."""
        other = await self._index.repository_with(digest)
        if other is None or other == route.repository or route.upstream is None:
            return
        try:
            await route.upstream.resolve_blob(route.name, digest)
        except Exception as error:
            if is_down(error):
                # The download would wait for the same error.
                raise
            return
        try:
            if (await self._index.claim(route.repository, "upstream"))[0] == "upstream":
                mounted = await self._local.mount_blob(other, route.repository, digest)
                await self._eviction.count(Content("blob", digest), route.repository, mounted.size)
        except Exception as error:
            _log.debug("%s is downloaded, because it could not be mounted: %s", digest, error)
