"""Downloads a blob from upstream, or reads it from the file of another process that downloads it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from ociserver.cancellation import finish
from ociserver.compose.cache.download import Download
from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.locks import Followed, Lock
from ociserver.compose.cache.notes import Note, Stage
from ociserver.compose.cache.partial_file import GrowingFile, PartialFile, Spool, SpooledUpload, StoreUpload
from ociserver.compose.cache.queries import Content
from ociserver.compose.cache.read_ahead import ReadAhead
from ociserver.compose.cache.room import Room
from ociserver.compose.cache.routing import Route
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Backend, Descriptor
from ociserver.store.blob_folder import BlobFolder

__all__ = ["Fetching", "UnreadError"]

PROGRESS_S: Final = 0.01
"""Seconds between two checks of the size of another process's file, while a reader waits for more bytes."""


class UnreadError(Exception):
    """The download was cancelled: the blob does not fit into the cache, and its last reader has left."""


class Fetching:
    """The two ways to download.

    A download writes into an upload of the local registry, so that a partial blob is never visible. After a crash, the
    next process that holds the lock cancels the upload. Bytes are readable before they are written, so that clients do
    not wait for the disk.

    If uploads of the local registry have no files, the bytes also go into a spool file until the blob is kept. A blob
    that does not fit into the cache is only in a spool file, which is deleted after its last reader.

    Args:
        local: the registry that keeps the contents.
        folder: has the files of uploads of `local`, which other processes can read; None if there are none.
        index: records what is kept.
        eviction: makes room.
        room: of spools.
    """

    def __init__(self, local: Backend, folder: BlobFolder | None, index: Index, eviction: Eviction, room: Room) -> None:
        self._local = local
        self._folder = folder
        self._index = index
        self._eviction = eviction
        self._room = room

    async def fetch(self, download: Download, route: Route, digest: str, lock: Lock) -> None:
        """Fetch a blob from upstream. The caller holds the lock."""
        upstream = route.upstream
        assert upstream
        reader = await upstream.get_blob(route.name, digest)
        try:
            descriptor = Descriptor(reader.descriptor.media_type, digest, reader.descriptor.size)
            is_kept = await self._admit(route, descriptor.size)
            if self._folder is None or not is_kept:
                download.take(await self._room.take(descriptor.size))
            ahead = ReadAhead(upstream.read(route.name, reader), lambda count: _came(download, descriptor, count))
            download.begin(descriptor, ahead)
            async with ahead:
                # Give the first bytes to the readers before anything else happens.
                await ahead.begun()
                file = await self._make_file(route, digest, lock, is_kept=is_kept)
                try:
                    await self._write(download, route, ahead, file, lock, is_kept=is_kept)
                except BaseException as error:
                    if isinstance(error, OCIError) and error.code == "DIGEST_INVALID":
                        upstream.count(error)
                    with contextlib.suppress(Exception):
                        await finish(file.discard())
                    raise
        finally:
            await reader.aclose()
        if not is_kept:
            try:
                await download.unread()
            finally:
                await finish(file.discard())

    async def follow(self, download: Download, digest: str, lock: Lock) -> bool:
        """Read the file of the process that downloads the blob, until that process has succeeded or failed.

        Returns:
            Whether the file is open and complete, and that process has verified it.
        """
        followed = await lock.follow()
        if followed is None:
            return False
        try:
            return await self._watch(download, digest, lock, followed)
        finally:
            followed.close()

    async def clear(self, lock: Lock) -> None:
        """Delete the partial file of the last holder of a lock, which was killed."""
        note = Note.decode(lock.left)
        if note is not None and note.upload:
            with contextlib.suppress(OCIError):
                writer = await self._local.push_blob_chunked_resume(note.repository, note.upload, offset=None)
                await writer.cancel()
        if lock.spool is not None:
            await asyncio.to_thread(lock.spool.unlink, missing_ok=True)

    async def _admit(self, route: Route, size: int) -> bool:
        """Claim the repository, unless the blob is too large to keep. Raises BLOB_UNKNOWN if it is local by now."""
        if not self._eviction.fits(size):
            return False
        if (await self._index.claim(route.repository, "upstream"))[0] != "upstream":
            raise OCIError("BLOB_UNKNOWN")
        return True

    async def _make_file(self, route: Route, digest: str, lock: Lock, *, is_kept: bool) -> PartialFile:
        algorithm = digest.partition(":")[0]
        if not is_kept:
            return await Spool.make(lock.spool, algorithm)
        writer = await self._local.push_blob_chunked(route.repository, algorithm=algorithm)
        if self._folder is not None:
            return StoreUpload(self._folder, writer)
        try:
            return SpooledUpload(writer, await Spool.make(lock.spool, algorithm))
        except BaseException:
            await finish(writer.cancel())
            raise

    async def _write(
        self, download: Download, route: Route, ahead: ReadAhead, file: PartialFile, lock: Lock, *, is_kept: bool
    ) -> None:
        descriptor = download.descriptor
        assert descriptor

        def note(state: Stage) -> bytes:
            return Note(state, descriptor.size, descriptor.media_type, route.repository, file.upload).encode()

        growing: GrowingFile | None = None
        lock.share(note("coming"))
        async for data in ahead:
            await file.write(data)
            if growing is None and (growing := file.growing()) is not None:
                download.read_from(growing)
            if growing is not None:
                ahead.drop(growing.size())
            if not is_kept and not download.readers:
                raise UnreadError
        if ahead.size != descriptor.size:
            raise HTTPError(502, f"upstream sent {ahead.size} of the blob's {descriptor.size} bytes")
        if is_kept:
            content = Content("blob", descriptor.digest)
            async with self._eviction.keep(content, route.repository, descriptor.size):
                await file.finish(descriptor.digest)
            lock.tell(note("kept"))
            await download.keep(descriptor)
        else:
            await file.finish(descriptor.digest)
            lock.tell(note("whole"))
            download.pass_on()

    async def _watch(self, download: Download, digest: str, lock: Lock, followed: Followed) -> bool:
        """Follow the size of another process's file until that process has ended or the blob is complete.

        Returns:
            See `follow`.
        """
        note = Note.decode(followed.note())
        ended = asyncio.ensure_future(followed.ended())
        file: GrowingFile | None = None
        try:
            if note is None or note.state == "kept":
                await ended
                return False
            download.begin(Descriptor(note.media_type, digest, note.size))
            while not ended.done():
                if file is None and (file := GrowingFile.open(self._path_of(note, lock))) is not None:
                    download.read_from(file)
                if file is not None:
                    size = file.size()
                    download.grow(size)
                    if size == note.size and _stage(followed) == "whole":
                        return True
                if download.is_awaited:
                    await asyncio.wait([ended], timeout=PROGRESS_S)
                else:
                    await _either(ended, download)
            await ended
            return file is not None and _stage(followed) in ("whole", "kept")
        finally:
            ended.cancel()

    def _path_of(self, note: Note, lock: Lock) -> Path:
        """The file that the other process writes."""
        path = self._folder.path(note.upload) if note.upload and self._folder is not None else lock.spool
        assert path
        return path


def _stage(followed: Followed) -> Stage | None:
    note = Note.decode(followed.note())
    return None if note is None else note.state


async def _either(ended: asyncio.Future[None], download: Download) -> None:
    """Wait until a reader waits for more bytes, or until the other process has ended."""
    awaited = asyncio.ensure_future(download.awaited())
    try:
        await asyncio.wait([ended, awaited], return_when=asyncio.FIRST_COMPLETED)
    finally:
        awaited.cancel()


def _came(download: Download, descriptor: Descriptor, count: int) -> None:
    if count > descriptor.size:
        raise HTTPError(502, f"upstream's blob is longer than the {descriptor.size} bytes that it announced")
    download.grow(count)
