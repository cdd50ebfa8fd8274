"""One upload that consists of an upload in each registry."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack

from ociserver.adapt import refresh
from ociserver.cancellation import finish
from ociserver.compose.unify.outcomes import UNKNOWN, everywhere, settle
from ociserver.errors import OCIError
from ociserver.interface import BlobWriter, Descriptor

__all__ = ["Upload", "decode_id", "encode_id"]


class Upload:
    """A `BlobWriter` over one writer of each registry.

    The first registry allows one writing request at a time. So it is called first, and closed last. If the other
    registries then fail, the upload is cancelled: nobody could continue an upload with different sizes.

    Args:
        writers: one of each registry, in order.
        turn: held while bytes are written, so that no task of this process sees one registry ahead of another.
    """

    def __init__(self, writers: Sequence[BlobWriter], turn: asyncio.Lock) -> None:
        self._writers = writers
        self._turn = turn
        self._begun = False
        self._id = encode_id([writer.id for writer in writers])

    @property
    def id(self) -> str:
        return self._id

    @property
    def size(self) -> int:
        return min(writer.size for writer in self._writers)

    @property
    def chunk_size(self) -> int:
        return max(writer.chunk_size for writer in self._writers)

    async def refresh(self) -> None:
        await asyncio.gather(*(refresh(writer) for writer in self._writers))

    async def write(self, data: bytes) -> None:
        if not data:
            return
        async with self._turn:
            await finish(self._write(data))

    async def commit(self, digest: str) -> Descriptor:
        async with self._turn:
            return await finish(self._commit(digest))

    async def cancel(self) -> None:
        await everywhere([_cancel(writer) for writer in self._writers], forgive=UNKNOWN)

    async def aclose(self) -> None:
        async with AsyncExitStack() as stack:
            for writer in self._writers:
                stack.push_async_callback(writer.aclose)

    async def _write(self, data: bytes) -> None:
        first, *others = self._writers
        if self._begun:
            outcomes = await asyncio.gather(*(each.write(data) for each in self._writers), return_exceptions=True)
        else:
            await self._agree()
            await first.write(data)
            self._begun = True
            outcomes = await asyncio.gather(*(each.write(data) for each in others), return_exceptions=True)
            outcomes = [None, *outcomes]
        await self._settle(outcomes)

    async def _commit(self, digest: str) -> Descriptor:
        first, *others = self._writers
        await self._agree()
        descriptor = await first.commit(digest)
        outcomes = await asyncio.gather(*(each.commit(digest) for each in others), return_exceptions=True)
        await self._settle([descriptor, *outcomes])
        return descriptor

    async def _settle(self, outcomes: Sequence[object]) -> None:
        failed = [isinstance(each, BaseException) for each in outcomes]
        if any(failed) and not all(failed):
            await asyncio.gather(*(_cancel(writer) for writer in self._writers), return_exceptions=True)
        settle(outcomes)

    async def _agree(self) -> None:
        if len({writer.size for writer in self._writers}) > 1:
            # Another process may have continued one of the uploads.
            await self.refresh()
        sizes = {writer.size for writer in self._writers}
        if len(sizes) > 1:
            raise OCIError("RANGE_INVALID", f"the registries have different sizes of this upload: {sorted(sizes)}")


async def _cancel(writer: BlobWriter) -> None:
    await writer.cancel()


def encode_id(ids: Sequence[str]) -> str:
    """The ids of all registries as one id."""
    return base64.urlsafe_b64encode(json.dumps(ids).encode()).decode()


def decode_id(upload_id: str, count: int) -> list[str]:
    """The ids of which `encode_id` made this id.

    Raises:
        OCIError: BLOB_UPLOAD_UNKNOWN if `encode_id` did not make it.
    """
    try:
        ids = json.loads(base64.b64decode(upload_id, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        ids = None
    if not isinstance(ids, list) or len(ids) != count or not all(isinstance(each, str) for each in ids):
        raise OCIError("BLOB_UPLOAD_UNKNOWN")
    return ids
