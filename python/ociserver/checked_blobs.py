"""Readers and writers of backends of one's own, called with checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ociserver.checked_calls import awaited, note
from ociserver.checked_results import CHECKS, shown
from ociserver.values import Descriptor, File, Url

__all__ = ["CheckedReader", "CheckedWriter"]


class CheckedReader:
    """A `BlobReader` that passes calls on to another one, and checks its pieces.

    Args:
        inner: has passed the check of a reader.
        place: the method that returned it, for messages.
    """

    def __init__(self, inner: Any, place: str) -> None:
        self._inner = inner
        self._place = f"the reader of {place}, {type(inner).__qualname__}"
        self.descriptor: Descriptor = inner.descriptor
        self.range: tuple[int, int] = inner.range
        part = getattr(inner, "part", None)
        if part is not None:
            self.part = part

    @property
    def location(self) -> File | Url | bytes | None:
        location: File | Url | bytes | None = getattr(self._inner, "location", None)
        return location

    def __aiter__(self) -> AsyncIterator[bytes]:
        given = self._inner.__aiter__()
        if not hasattr(type(given), "__anext__"):
            raise TypeError(
                f"{self._place}, returned {shown(given)} from __aiter__; it must be an `async def` with `yield`"
            )
        return _Pieces(given, self._place)

    async def aclose(self) -> None:
        await awaited(self._inner.aclose(), f"{self._place}, method aclose")


class _Pieces:
    def __init__(self, inner: AsyncIterator[bytes], place: str) -> None:
        self._next = inner.__anext__
        self._place = place

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._next()
        except StopAsyncIteration:
            raise
        except Exception as error:
            note(error, f"{self._place}, while it was read")
            raise
        if piece.__class__ is not bytes:
            raise TypeError(f"{self._place}, gave {shown(piece)} as a piece of the blob; it must give bytes")
        return piece


class CheckedWriter:
    """A `BlobWriter` that passes calls on to another one, and checks the results.

    Args:
        inner: has passed the check of a writer.
        place: the method that returned it, for messages.
    """

    def __init__(self, inner: Any, place: str) -> None:
        self._inner = inner
        self._place = f"the writer of {place}, {type(inner).__qualname__}"
        for name in ("open_sink", "refresh"):
            method = getattr(inner, name, None)
            if method is not None:
                setattr(self, name, method)

    @property
    def id(self) -> str:
        upload_id: str = self._inner.id
        return upload_id

    @property
    def size(self) -> int:
        size: int = self._inner.size
        return size

    @property
    def chunk_size(self) -> int:
        chunk_size: int = self._inner.chunk_size
        return chunk_size

    async def write(self, data: bytes) -> None:
        try:
            await awaited(self._inner.write(data), f"{self._place}, method write,")
        except Exception as error:
            note(error, f"{self._place}, method write")
            raise

    async def commit(self, digest: str) -> Descriptor:
        place = f"{self._place}, method commit"
        try:
            result = await awaited(self._inner.commit(digest), f"{place},")
        except Exception as error:
            note(error, place)
            raise
        wrong = CHECKS["commit"](result)
        if wrong is not None:
            raise TypeError(f"{place}, returned {wrong}")
        descriptor: Descriptor = result
        return descriptor

    async def cancel(self) -> None:
        await awaited(self._inner.cancel(), f"{self._place}, method cancel,")

    async def aclose(self) -> None:
        await awaited(self._inner.aclose(), f"{self._place}, method aclose,")
