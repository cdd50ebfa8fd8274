"""The bytes of a blob, in the pieces in which they came, and a reader of parts of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator

from ociserver.interface import Descriptor

__all__ = ["Blob", "Reader"]


class Blob:
    """The content of a blob, shared by every repository that links it."""

    __slots__ = ("ends", "links", "pieces", "size")

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.ends: list[int] = []
        self.size = 0
        for piece in pieces:
            self.size += len(piece)
            self.ends.append(self.size)
        self.links = 0


class Reader:
    """Reads [start, stop) of a blob. It keeps the pieces alive, even if the blob is deleted meanwhile."""

    def __init__(self, descriptor: Descriptor, blob: Blob, start: int, stop: int) -> None:
        self.descriptor = descriptor
        self.range = (start, stop)
        self.location = blob.pieces[0] if len(blob.pieces) == 1 and stop - start == blob.size else None
        self._blob = blob

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.part(*self.range)

    async def part(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Any part of the blob."""
        blob = self._blob
        index = bisect_right(blob.ends, start)
        while start < stop:
            piece, end = blob.pieces[index], blob.ends[index]
            begin = end - len(piece)
            whole = start == begin and stop >= end
            yield piece if whole else piece[start - begin : stop - begin]
            start = end
            index += 1

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""
