"""Reading a blob while it is filled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from ociserver._core import ByteRange
from ociserver.compose.cache.filling import Fill
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import BlobReader, Descriptor

__all__ = ["FillReader", "open_fill"]

READ_SIZE: Final = 256 * 1024
"""Bytes read at a time, from what was written just now: no disk is waited for, so no thread is needed."""

SMALL: Final = 64 * 1024
"""Bytes of a blob that is answered when it is known to be right: then what went wrong has a status of its own."""


class FillReader:
    """A `BlobReader` of a fill: gives what is there and waits for more."""

    location = None

    def __init__(self, fill: Fill, descriptor: Descriptor, start: int, stop: int) -> None:
        self.descriptor = descriptor
        self.range = (start, stop)
        self._fill = fill
        self._attempt = fill.attempt
        self._open = True
        self._has_given = False
        fill.join()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.part(*self.range)

    async def part(self, at: int, stop: int) -> AsyncIterator[bytes]:
        """Any part of the blob."""
        fill = self._fill
        while at < stop:
            if fill.attempt != self._attempt and self._has_given:
                raise HTTPError(502, "the blob has to be fetched again, and may be another one then")
            self._attempt = fill.attempt
            ready = min(fill.available, stop)
            data = fill.read(at, min(READ_SIZE, ready - at)) if at < ready else b""
            if data:
                at += len(data)
                self._has_given = True
                yield data
            elif fill.error is not None:
                raise fill.error
            elif fill.done:
                break
            else:
                await fill.changed()
        if at < stop:
            # A small one, which had no file while it grew.
            rest = await fill.local.get_blob(fill.repository, fill.digest, ByteRange(at, stop - 1))
            try:
                async for data in rest:
                    yield data
            finally:
                await rest.aclose()

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._fill.leave()


async def open_fill(fill: Fill, range: ByteRange | None) -> BlobReader:
    """Open the blob of a fill, or a part of it, as soon as its size is known."""
    while fill.error is None and not fill.done and (fill.descriptor is None or fill.descriptor.size <= SMALL):
        await fill.changed()
    if fill.error is not None:
        raise fill.error
    if fill.done:
        return await fill.local.get_blob(fill.repository, fill.digest, range)
    descriptor = fill.descriptor
    assert descriptor
    span = (0, descriptor.size) if range is None else range.resolve(descriptor.size)
    if span is None:
        raise OCIError("RANGE_INVALID", detail={"size": descriptor.size})
    return FillReader(fill, descriptor, *span)
