"""Blobs: pull, ask for, delete (spec: end-2, end-10)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

from ociserver._core import ACCEPT_RANGES, ByteRange, parse_range
from ociserver.errors import OCIError
from ociserver.handler.body import ClientDisconnectedError
from ociserver.handler.responses import Answer, content_headers, empty, etag, locations, not_modified, text

if TYPE_CHECKING:
    from ociserver.handler.call import Call
    from ociserver.interface import BlobReader, Descriptor

__all__ = ["delete", "get", "head"]

WATCH_SIZE: Final = 1024 * 1024
"""Bytes of an answer up to which a client that goes away costs less than the task that would notice."""

TURN_SIZE: Final = 8 * 1024 * 1024
"""Bytes of an answer after which others get a turn of the event loop. What is in memory is read without waiting, and
often sent so too: without this nobody else might have a turn before the end, nor would it be seen that the client has
gone. 8 MiB take a few milliseconds; with a turn after every 2 MiB 8 downloads at once were slower by a twentieth."""


async def head(call: Call) -> Answer:
    """end-2, HEAD /v2/<name>/blobs/<digest>: 200, 304, 404."""
    descriptor = await _resolve(call)
    if call.if_none_match is not None and call.not_modified(descriptor.digest):
        return not_modified(descriptor)
    return 200, [*content_headers(descriptor, descriptor.size), ACCEPT_RANGES], b""


async def get(call: Call) -> Answer | None:
    """end-2, GET /v2/<name>/blobs/<digest>: 200, 206, 304, 307, 404, 416."""
    request = call.request
    assert request.repository
    assert request.digest
    if call.handler.options.locations_for_descriptor:
        urls = await locations(call, await _resolve(call), is_manifest=False)
        if urls:
            return empty(307, [(b"location", text(urls[0]))])
    if call.if_none_match is not None:
        descriptor = await _resolve(call)
        if call.not_modified(descriptor.digest):
            return not_modified(descriptor)
    if call.handler.options.redirect_pulls:
        location = await call.handler.backend.locate_blob(request.repository, request.digest)
        if location is not None:
            return empty(307, [(b"location", text(location.url))])
    ranges = None if call.range is None else await _ranges(call, call.range)
    if ranges is not None and len(ranges) > 1:
        await _get_several(call, ranges)
        return None
    try:
        reader = await call.handler.backend.get_blob(request.repository, request.digest, ranges[0] if ranges else None)
    except OCIError as error:
        raise _with_content_range(error) from None
    try:
        start, stop = reader.range
        headers = content_headers(reader.descriptor, stop - start)
        headers.append(ACCEPT_RANGES)
        if ranges:
            headers.append(_content_range(start, stop, reader.descriptor.size))
        status = 206 if ranges else 200
        content = getattr(reader, "location", None)
        if isinstance(content, bytes) and len(content) == stop - start:
            # One answer, and no generator: twice as fast.
            return status, headers, content
        await call.start(status, headers)
        if stop - start > WATCH_SIZE:
            async with _watched(call):
                await _send(call, reader, more=False)
        else:
            await _send(call, reader, more=False)
    finally:
        await reader.aclose()
    return None


async def delete(call: Call) -> Answer:
    """end-10, DELETE /v2/<name>/blobs/<digest>: 202, 404/405."""
    assert call.request.repository
    assert call.request.digest
    await call.handler.backend.delete_blob(call.request.repository, call.request.digest)
    return empty(202, [])


async def _resolve(call: Call) -> Descriptor:
    assert call.request.repository
    assert call.request.digest
    return await call.handler.backend.resolve_blob(call.request.repository, call.request.digest)


async def _ranges(call: Call, header: bytes) -> list[ByteRange] | None:
    """What the Range header asks for; None for the whole blob."""
    condition = call.headers.get(b"if-range")
    if condition is not None and condition.strip() != etag(call.request.digest or ""):
        # Some other content, or a date, which nothing here has (RFC 9110, 13.1.5).
        return None
    try:
        return parse_range(header)
    except OCIError as error:
        raise _unsatisfiable(str(error.message), (await _resolve(call)).size) from None


async def _get_several(call: Call, ranges: list[ByteRange]) -> None:
    """Several ranges in one answer: multipart/byteranges (RFC 9110, 14.6)."""
    descriptor = await _resolve(call)
    spans = _merge([span for span in (wanted.resolve(descriptor.size) for wanted in ranges) if span])
    if not spans:
        raise _unsatisfiable("no part of the range lies inside the blob", descriptor.size)
    repository, digest = call.request.repository, call.request.digest
    assert repository
    assert digest
    boundary = secrets.token_hex(16).encode()
    heads = [
        b"\r\n--%s\r\ncontent-type: %s\r\ncontent-range: bytes %d-%d/%d\r\n\r\n"
        % (boundary, text(descriptor.media_type), start, stop - 1, descriptor.size)
        for start, stop in spans
    ]
    tail = b"\r\n--%s--\r\n" % boundary
    length = sum(map(len, heads)) + sum(stop - start for start, stop in spans) + len(tail)
    headers = [*content_headers(descriptor, length), ACCEPT_RANGES]
    headers[0] = (b"content-type", b"multipart/byteranges; boundary=" + boundary)
    async with _watched(call):
        for part, (start, stop) in zip(heads, spans, strict=True):
            reader = await call.handler.backend.get_blob(repository, digest, ByteRange(start, stop - 1))
            async with aclosing(reader):
                if not call.status:
                    # Only now is it certain that the first part can be read.
                    await call.start(206, headers)
                await call.write(part, more=True)
                await _send(call, reader, more=True)
        await call.write(tail, more=False)


@asynccontextmanager
async def _watched(call: Call) -> AsyncIterator[None]:
    """Notice when the client goes away.

    ASGI servers swallow what is sent to nobody, so without this a blob would be read to its end for a
    client that has long gone.
    """
    call.watch = asyncio.ensure_future(call.body.disconnected())
    try:
        yield
    finally:
        call.watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call.watch


async def _send(call: Call, reader: BlobReader, *, more: bool) -> None:
    start, stop = reader.range
    left = stop - start
    if left == 0 and not more:
        await call.write(b"", more=False)
    async for data in reader:
        left -= len(data)
        if left < 0:
            break
        await call.write(data, more=more or left > 0)
        if call.watch is not None and (left > 0 or more):
            if call.sent % TURN_SIZE < len(data):
                await asyncio.sleep(0)
            if call.watch.done():
                raise ClientDisconnectedError
    if left != 0:
        # The answer has promised another length: cut it, so that nobody takes it for the blob.
        raise RuntimeError(
            f"{reader.descriptor.digest}: the backend gave {stop - start - left} of {stop - start} bytes"
        )


def _merge(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join what overlaps or touches, so that many ranges never send a byte twice (RFC 9110, 14.2 and 17.15)."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _content_range(start: int, stop: int, size: int) -> tuple[bytes, bytes]:
    return (b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size))


def _unsatisfiable(message: str, size: int) -> OCIError:
    return OCIError("RANGE_INVALID", message, headers={"Content-Range": f"bytes */{size}"})


def _with_content_range(error: OCIError) -> OCIError:
    size = error.detail.get("size") if isinstance(error.detail, dict) else None
    return _unsatisfiable(error.message, size) if error.code == "RANGE_INVALID" and size is not None else error
