"""Reads a blob from its row in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ociserver.interface import Descriptor

__all__ = ["InlineReader"]


class InlineReader:
    """A small blob, or a part of it, which is in memory already."""

    def __init__(self, descriptor: Descriptor, content: bytes, start: int, stop: int) -> None:
        self.descriptor = descriptor
        self.range = (start, stop)
        self.location = content if stop - start == len(content) else content[start:stop]
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.location:
            yield self.location

    async def part(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Any part of the blob."""
        yield self._content[start:stop]

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""
