"""Copies each blob once. Skips blobs that exist at the destination, and mounts blobs where the registry can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from ociserver.copy.ends import CopyError, Ends, is_there, may_pass, saying
from ociserver.copy.parts import Part
from ociserver.copy.progress import Progress
from ociserver.copy.sharing import Once, Shared
from ociserver.errors import OCIError
from ociserver.interface import UNKNOWN_SIZE, BlobReader, Descriptor

__all__ = ["Blobs"]


class Blobs:
    """Copies blobs between two repositories.

    Args:
        ends: source and destination.
        shared: what the copies of other repositories share with this one.
        progress: counts blobs and bytes.
        mount: source and destination are in one registry.
    """

    def __init__(self, ends: Ends, shared: Shared, progress: Progress, *, mount: bool) -> None:
        self._ends = ends
        self._slots = shared.slots
        self._homes = shared.homes
        self._progress = progress
        self._mount = mount
        self._once = Once()

    async def copy(self, part: Part) -> None:
        """Make sure that the destination has a blob."""
        await self._once.do(part.digest, lambda: self._copy(part))

    async def aclose(self) -> None:
        """Abort the transfers in progress."""
        await self._once.close()

    async def _copy(self, part: Part) -> None:
        size = max(part.size, 0)
        self._progress.add(bytes_total=size)
        async with self._slots:
            try:
                how = await self._have(part)
            except BaseException:
                self._progress.add(bytes_total=-size)
                raise
        self._homes.put(part.digest, self._ends.to_repository)
        self._progress.add(**{how: 1})

    async def _have(self, part: Part) -> str:
        """Copy the blob in the cheapest way. Returns the name of the counter for it."""
        ends, what, size = self._ends, f"blob {part.digest}", max(part.size, 0)
        if await is_there(ends.target.resolve_blob(ends.to_repository, part.digest), what):
            self._progress.add(bytes_done=size)
            return "blobs_existing"
        if await self._mounted(part.digest):
            self._progress.add(bytes_done=size)
            return "blobs_mounted"
        try:
            await self._stream(part)
        except CopyError as error:
            if not may_pass(error):
                raise
            # The streamed bytes are gone. An upload in chunks can send a chunk again until it is acknowledged.
            await self._send_chunks(part)
        return "blobs_copied"

    async def _mounted(self, digest: str) -> bool:
        """Mount the blob from another repository of the destination. False if none is known, or it is not possible."""
        home = self._ends.from_repository if self._mount else self._homes.get(digest)
        if home is None:
            return False
        try:
            await self._ends.target.mount_blob(home, self._ends.to_repository, digest)
        except OCIError:
            # The registry cannot mount the blob, or we may not do that. We may still be allowed to push it.
            return False
        return True

    async def _stream(self, part: Part) -> None:
        async with aclosing(await self._open(part)) as reader:
            pieces = _Pieces(reader, self._progress, f"blob {part.digest}")
            try:
                with saying("destination", pieces.what):
                    described = Descriptor(reader.descriptor.media_type, part.digest, reader.descriptor.size)
                    await self._ends.target.push_blob(self._ends.to_repository, described, pieces.read())
            except BaseException:
                self._progress.add(bytes_done=-pieces.size)
                raise

    async def _send_chunks(self, part: Part) -> None:
        algorithm = part.digest.partition(":")[0]
        async with aclosing(await self._open(part)) as reader:
            pieces = _Pieces(reader, self._progress, f"blob {part.digest}")
            with saying("destination", pieces.what):
                writer = await self._ends.target.push_blob_chunked(self._ends.to_repository, algorithm=algorithm)
                try:
                    async for piece in pieces.read():
                        await writer.write(piece)
                    await writer.commit(part.digest)
                except BaseException:
                    self._progress.add(bytes_done=-pieces.size)
                    await writer.cancel()
                    raise

    async def _open(self, part: Part) -> BlobReader:
        with saying("source", f"blob {part.digest}"):
            reader = await self._ends.source.get_blob(self._ends.from_repository, part.digest)
            if part.size not in (UNKNOWN_SIZE, reader.descriptor.size):
                await reader.aclose()
                raise OCIError(
                    "SIZE_INVALID", f"the blob has {reader.descriptor.size} bytes, but the manifest says {part.size}"
                )
            return reader


class _Pieces:
    """The counted pieces of a reader. Its errors are those of the source."""

    def __init__(self, reader: BlobReader, progress: Progress, what: str) -> None:
        self.what = what
        self.size = 0
        self._reader = reader
        self._progress = progress

    async def read(self) -> AsyncIterator[bytes]:
        with saying("source", self.what):
            async for piece in self._reader:
                self.size += len(piece)
                self._progress.add(bytes_sent=len(piece), bytes_done=len(piece))
                yield piece
