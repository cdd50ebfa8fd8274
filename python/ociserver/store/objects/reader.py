"""Reads a blob from its object."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ociserver.interface import Descriptor
from ociserver.store.objects.calls import Calls
from ociserver_objects import Bucket, Reading

__all__ = ["ObjectReader"]


class ObjectReader:
    """An object that is being read. A download that was cut goes on where it ended.

    Args:
        bucket: has the object.
        call: calls it.
        key: of the object.
        descriptor: of the blob.
        reading: has begun to read the range.
        range: (start, stop) of the bytes that are read.
    """

    location = None

    def __init__(
        self,
        bucket: Bucket,
        call: Calls,
        key: str,
        descriptor: Descriptor,
        reading: Reading,
        range: tuple[int, int],
    ) -> None:
        self.descriptor = descriptor
        self.range = range
        self._bucket = bucket
        self._call = call
        self._key = key
        self._reading: Reading | None = reading

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def part(self, position: int, stop: int) -> AsyncIterator[bytes]:
        """Any part of the blob. Parts are read one after another."""
        await self.aclose()
        if position < stop:
            self._reading = await self._call(self._bucket.read, self._key, position, stop)
            async for data in self._pieces():
                yield data

    async def _pieces(self) -> AsyncIterator[bytes]:
        while self._reading is not None and (data := await self._call.next(self._reading)):
            yield data

    async def aclose(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.close()
