"""A registry that keeps nothing: what its process holds in memory is what the handler and the server hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

import ociserver
from ociserver import ByteRange, Descriptor
from ociserver._core import Hasher
from tests.memory.content import PIECE, size_of

MEDIA_TYPE = "application/octet-stream"

SLOW = "slow"
"""The repository whose writes take `WRITE_S` each: every client is faster than it."""

WRITE_S = 0.02


class Generated:
    """A blob whose bytes are generated when they are read. Its digest contains its size."""

    location = None

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.range = (0, descriptor.size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.descriptor.size
        while left:
            # Made anew each time, as a backend's would be.
            data = bytes(bytearray(PIECE[: min(left, len(PIECE))]))
            left -= len(data)
            yield data

    async def aclose(self) -> None:
        pass


class Upload:
    """Hashes what it is given, as every backend does, and forgets it."""

    id = "upload"
    chunk_size = 0

    def __init__(self, repository: str) -> None:
        self.size = 0
        self._hasher = Hasher()
        self._is_slow = repository == SLOW

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._hasher.update, data)
        if self._is_slow:
            await asyncio.sleep(WRITE_S)
        self.size += len(data)

    async def commit(self, digest: str) -> Descriptor:
        if self._hasher.digest() != digest:
            raise ociserver.OCIError("DIGEST_INVALID")
        return Descriptor(MEDIA_TYPE, digest, self.size)

    async def cancel(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Nothing(ociserver.Backend):
    """Pushes are verified and dropped. Any digest can be pulled."""

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Generated:
        return Generated(Descriptor(MEDIA_TYPE, digest, size_of(digest)))

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        upload = Upload(repository)
        async for data in chunks:
            await upload.write(data)
        return await upload.commit(descriptor.digest)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> Upload:
        return Upload(repository)


application = ociserver.Handler(Nothing())
