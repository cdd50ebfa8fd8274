"""Blobs: pull, ask for, delete (spec: end-2, end-10)."""

from __future__ import annotations

import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING

from ociserver._core import ByteRange, parse_range
from ociserver.errors import OCIError
from ociserver.handler.responses import ACCEPT_RANGES, content_headers, etag, locations, text

if TYPE_CHECKING:
    from ociserver.handler.call import Call, Headers
    from ociserver.interface import BlobReader, Descriptor

__all__ = ["delete", "get", "head"]


async def head(call: Call) -> None:
    """end-2, HEAD /v2/<name>/blobs/<digest>: 200, 404."""
    descriptor = await _resolve(call)
    if call.not_modified(etag(descriptor.digest)):
        await _not_modified(call, descriptor)
        return
    await call.respond(200, [*content_headers(descriptor, descriptor.size), ACCEPT_RANGES])


async def get(call: Call) -> None:
    """end-2, GET /v2/<name>/blobs/<digest>: 200, 206, 304, 307, 404, 416."""
    request = call.request
    assert request.repository
    assert request.digest
    if call.handler.options.locations_for_descriptor:
        urls = await locations(call, await _resolve(call), is_manifest=False)
        if urls:
            await call.respond_empty(307, [(b"location", text(urls[0]))])
            return
    if b"if-none-match" in call.headers:
        descriptor = await _resolve(call)
        if call.not_modified(etag(descriptor.digest)):
            await _not_modified(call, descriptor)
            return
    ranges = await _ranges(call)
    if ranges is not None and len(ranges) > 1:
        await _get_several(call, ranges)
        return
    try:
        reader = await call.handler.backend.get_blob(request.repository, request.digest, ranges[0] if ranges else None)
    except OCIError as error:
        raise _with_content_range(error) from None
    async with aclosing(reader):
        start, stop = reader.range
        headers = [*content_headers(reader.descriptor, stop - start), ACCEPT_RANGES]
        if ranges:
            headers.append(_content_range(start, stop, reader.descriptor.size))
        await call.start(206 if ranges else 200, headers)
        await _send(call, reader, more=False)


async def delete(call: Call) -> None:
    """end-10, DELETE /v2/<name>/blobs/<digest>: 202, 404/405."""
    assert call.request.repository
    assert call.request.digest
    await call.handler.backend.delete_blob(call.request.repository, call.request.digest)
    await call.respond_empty(202, [])


async def _resolve(call: Call) -> Descriptor:
    assert call.request.repository
    assert call.request.digest
    return await call.handler.backend.resolve_blob(call.request.repository, call.request.digest)


async def _not_modified(call: Call, descriptor: Descriptor) -> None:
    headers = content_headers(descriptor, descriptor.size)
    await call.respond(304, [header for header in headers if header[0] not in (b"content-length", b"content-type")])


async def _ranges(call: Call) -> list[ByteRange] | None:
    """What the Range header asks for; None for the whole blob."""
    header = call.headers.get(b"range")
    if header is None:
        return None
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
    started = False
    for part, (start, stop) in zip(heads, spans, strict=True):
        reader = await call.handler.backend.get_blob(repository, digest, ByteRange(start, stop - 1))
        async with aclosing(reader):
            if not started:
                # Only now is it certain that the first part can be read.
                await call.start(206, headers)
                started = True
            await call.write(part, more=True)
            await _send(call, reader, more=True)
    await call.write(tail, more=False)


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
    if left != 0:
        # The answer has promised another length: cut it, so that nobody takes it for the blob.
        raise RuntimeError(f"{reader.descriptor.digest}: the backend gave {stop - start - left} of {stop - start} bytes")


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
