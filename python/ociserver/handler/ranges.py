"""Ranges of a blob: the bytes that a request asks for, and several ranges in one answer (RFC 9110, 14)."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from ociserver._core import ACCEPT_RANGES, ByteRange
from ociserver.handler.responses import content_headers, text
from ociserver.handler.sending import exactly, watched, write
from ociserver.interface import Descriptor

if TYPE_CHECKING:
    from ociserver.handler.call import Call
    from ociserver.interface import BlobReader

__all__ = ["Span", "begins", "resolve", "send_parts"]

Span = tuple[int, int]
"""(start, stop) of bytes, stop exclusive."""

BRIDGED: Final = 64 * 1024
"""The most bytes between two parts that are read and dropped, instead of opening the blob a second time: a client of a
remote registry receives as much before it can stop a request."""

PIECE: Final = 64 * 1024
"""Bytes below which pieces are joined, so that a thousand parts of a few bytes are not a thousand messages."""

Part = Callable[[int, int], AsyncIterator[bytes]]


def begins(wanted: ByteRange) -> bool:
    """Whether a range begins with the first byte of a content, or is the last bytes of it.

    For an empty content, such a range is the whole content. Content-Range cannot say that, so the answer is the content
    with 200.
    """
    return wanted.first == 0 or (wanted.first is None and wanted.last != 0)


def resolve(ranges: Sequence[ByteRange], size: int) -> list[Span]:
    """The spans of some ranges in a content of `size` bytes, sorted; empty if no range lies inside the content.

    Spans that overlap or touch are joined, so that no byte is sent twice (RFC 9110, 14.2 and 17.15).
    """
    joined: list[Span] = []
    for start, stop in sorted(span for wanted in ranges if (span := wanted.resolve(size))):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


async def send_parts(call: Call, blob: Descriptor, spans: Sequence[Span]) -> None:
    """Answer with several parts of a blob, as multipart/byteranges (RFC 9110, 14.6)."""
    boundary = secrets.token_hex(16)
    lead = f"\r\n--{boundary}\r\ncontent-type: {blob.media_type}\r\ncontent-range: bytes "
    heads = [text(f"{lead}{start}-{stop - 1}/{blob.size}\r\n\r\n") for start, stop in spans]
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(stop - start for start, stop in spans) + len(tail)
    multipart = Descriptor(f"multipart/byteranges; boundary={boundary}", blob.digest, length)
    headers = [*content_headers(multipart, length), ACCEPT_RANGES]
    async with watched(call), aclosing(_joined(_content(call, blob, heads, spans))) as pieces:
        async for piece in pieces:
            if not call.status:
                # Only now is it certain that the first part can be read.
                await call.start(206, headers)
            await write(call, piece, more=True)
        await call.write(tail, more=False)


async def _content(
    call: Call, blob: Descriptor, heads: Sequence[bytes], spans: Sequence[Span]
) -> AsyncGenerator[bytes, None]:
    """Each head with its part. The blob is opened once if its reader has `part`, else once for each group of parts that
    are close to each other."""
    repository = call.request.repository
    assert repository
    at = 0
    while at < len(spans):
        end = _end_of_group(spans, at)
        reader = await call.site.backend.get_blob(
            repository, blob.digest, ByteRange(spans[at][0], spans[end - 1][1] - 1)
        )
        async with aclosing(reader):
            part: Part | None = getattr(reader, "part", None)
            if part is None:
                part = _Forward(reader).part
            else:
                end = len(spans)
            for head, (start, stop) in zip(heads[at:end], spans[at:end], strict=True):
                yield head
                async for data in exactly(part(start, stop), stop - start, blob.digest):
                    yield data
        at = end


def _end_of_group(spans: Sequence[Span], at: int) -> int:
    """The end of the group of spans that begins at `at`: between them are at most `BRIDGED` bytes."""
    end = at + 1
    while end < len(spans) and spans[end][0] - spans[end - 1][1] <= BRIDGED:
        end += 1
    return end


class _Forward:
    """Reads parts, in order, from a reader without `part`. Bytes between the parts are dropped."""

    def __init__(self, reader: BlobReader) -> None:
        self._pieces = aiter(reader)
        self._piece = b""
        self._begin = reader.range[0]
        """Where the piece begins in the blob."""

    async def part(self, start: int, stop: int) -> AsyncIterator[bytes]:
        while start < stop:
            end = self._begin + len(self._piece)
            if start < end:
                yield self._piece[start - self._begin : stop - self._begin]
                start = min(stop, end)
                continue
            piece = await anext(self._pieces, None)
            if piece is None:
                return
            self._piece, self._begin = piece, end


async def _joined(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes, with small pieces joined."""
    held: list[bytes] = []
    size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            is_large = len(piece) >= PIECE
            if held and (is_large or size >= PIECE):
                yield b"".join(held)
                held, size = [], 0
            if is_large:
                yield piece
            else:
                held.append(piece)
                size += len(piece)
    if held:
        yield b"".join(held)
