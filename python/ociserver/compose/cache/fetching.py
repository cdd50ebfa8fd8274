"""Bringing a blob here: from upstream, or by following the process that does so already."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from ociserver.compose.cache.download import Download, State
from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.locks import Followed, Lock
from ociserver.compose.cache.notes import Note
from ociserver.compose.cache.partial_file import GrowingFile, PartialFile, Spool, SpooledUpload, StoreUpload
from ociserver.compose.cache.queries import Content
from ociserver.compose.cache.read_ahead import ReadAhead
from ociserver.compose.cache.routing import Route
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Backend, Descriptor
from ociserver.store import Store

__all__ = ["Fetching", "UnreadError"]

PROGRESS_S: Final = 0.01
"""How often a process looks how far another one's file is, while a reader of its own waits for more."""


class UnreadError(Exception):
    """The download was given up: it is not kept, and its last reader has left."""


class Fetching:
    """The ways in which a download comes.

    It is written into an upload of the local registry. So nothing that is half is ever a blob, and what a crash
    leaves behind is an upload that the next process to hold the lock ends. What has come is readable before it is
    written, so that no client waits for the disk. A blob that the bound has no room for is written to a spool instead,
    which goes when its last reader has left.

    Args:
        local: the registry that keeps the contents.
        store: what that is, if it is a store, whose uploads other processes can read.
        index: what is kept.
        eviction: makes room.
    """

    def __init__(self, local: Backend, store: Store | None, index: Index, eviction: Eviction) -> None:
        self._local = local
        self._store = store
        self._index = index
        self._eviction = eviction

    async def fetch(self, download: Download, route: Route, digest: str, lock: Lock) -> None:
        """Bring a blob here from upstream, while the lock is held."""
        upstream = route.upstream
        assert upstream
        reader = await upstream.get_blob(route.name, digest)
        try:
            descriptor = Descriptor(reader.descriptor.media_type, digest, reader.descriptor.size)
            is_kept = await self._admit(route, descriptor.size)
            ahead = ReadAhead(upstream.read(route.name, reader), lambda count: _came(download, descriptor, count))
            download.begin(descriptor, ahead)
            async with ahead:
                # What comes first goes on to whoever waits before it is anybody else's turn.
                await ahead.begun()
                file = await self._make_file(route, digest, lock, is_kept=is_kept)
                try:
                    await self._write(download, route, ahead, file, lock, is_kept=is_kept)
                except BaseException:
                    with contextlib.suppress(Exception):
                        await asyncio.shield(file.discard())
                    raise
        finally:
            await reader.aclose()
        if not is_kept:
            try:
                await download.unread()
            finally:
                await asyncio.shield(file.discard())

    async def follow(self, download: Download, digest: str, lock: Lock) -> None:
        """Give what another process fetches, until that has ended, one way or another."""
        followed = await lock.follow()
        if followed is None:
            return
        try:
            await self._watch(download, digest, lock, followed)
        finally:
            followed.close()
        if download.state is State.WHOLE:
            # For those of this process that still come: the file is open here.
            await download.unread()

    async def clear(self, lock: Lock) -> None:
        """Delete what the last holder of a lock, which was killed, was writing."""
        note = Note.decode(lock.left)
        if note is not None and note.upload:
            with contextlib.suppress(OCIError):
                writer = await self._local.push_blob_chunked_resume(note.repository, note.upload, offset=None)
                await writer.cancel()
        if lock.spool is not None:
            await asyncio.to_thread(lock.spool.unlink, missing_ok=True)

    async def _admit(self, route: Route, size: int) -> bool:
        """Upstream has it: so the repository is upstream's, unless it was pushed to meanwhile. Whether it is kept."""
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
        if self._store is not None:
            return StoreUpload(self._store, writer)
        try:
            return SpooledUpload(writer, await Spool.make(None, algorithm))
        except BaseException:
            await asyncio.shield(writer.cancel())
            raise

    async def _write(
        self, download: Download, route: Route, ahead: ReadAhead, file: PartialFile, lock: Lock, *, is_kept: bool
    ) -> None:
        descriptor = download.descriptor
        assert descriptor

        def note(state: str) -> bytes:
            return Note(state, descriptor.size, descriptor.media_type, route.repository, file.upload).encode()  # type: ignore[arg-type]

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
            raise HTTPError(502, f"upstream gave {ahead.size} of the blob's {descriptor.size} bytes")
        if is_kept:
            content = Content("blob", descriptor.digest)
            async with self._eviction.keep(content, route.repository, descriptor.size):
                await file.finish(descriptor.digest)
            lock.tell(note("kept"))
            download.keep(descriptor)
        else:
            await file.finish(descriptor.digest)
            lock.tell(note("whole"))
            download.pass_on()

    async def _watch(self, download: Download, digest: str, lock: Lock, followed: Followed) -> None:
        """Look how far the file of another process is, for as long as it goes on or until it is whole."""
        note = Note.decode(followed.note())
        ended = asyncio.ensure_future(followed.ended())
        file: GrowingFile | None = None
        try:
            if note is None or note.state == "kept":
                await ended
                return
            download.begin(Descriptor(note.media_type, digest, note.size))
            while not ended.done():
                if file is None and (file := GrowingFile.open(self._path_of(note, lock))) is not None:
                    download.read_from(file)
                if file is not None:
                    size = file.size()
                    download.grow(size)
                    if size == note.size and _is_whole(followed):
                        download.pass_on()
                        return
                if download.is_awaited:
                    await asyncio.wait([ended], timeout=PROGRESS_S)
                else:
                    await _either(ended, download)
            await ended
            if file is not None and _is_whole(followed):
                download.pass_on()
        finally:
            ended.cancel()

    def _path_of(self, note: Note, lock: Lock) -> Path:
        """The file that a process writes to."""
        path = self._store.blobs.path(note.upload) if note.upload and self._store else lock.spool
        assert path
        return path


def _is_whole(followed: Followed) -> bool:
    note = Note.decode(followed.note())
    return note is not None and note.state == "whole"


async def _either(ended: asyncio.Future[None], download: Download) -> None:
    """Wait until a reader waits, or for the end."""
    awaited = asyncio.ensure_future(download.awaited())
    try:
        await asyncio.wait([ended, awaited], return_when=asyncio.FIRST_COMPLETED)
    finally:
        awaited.cancel()


def _came(download: Download, descriptor: Descriptor, count: int) -> None:
    if count > descriptor.size:
        raise HTTPError(502, f"upstream's blob is longer than the {descriptor.size} bytes that it has promised")
    download.grow(count)
