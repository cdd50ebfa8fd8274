"""Blobs: GET, HEAD and DELETE (spec: end-2, end-10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociserver._core import ACCEPT_RANGES, ByteRange, parse_range
from ociserver.errors import OCIError
from ociserver.handler import locations
from ociserver.handler.ranges import begins, resolve, send_parts
from ociserver.handler.responses import Answer, content_headers, empty, etag, not_modified, text
from ociserver.handler.sending import WATCH_SIZE, exactly, watched, write

if TYPE_CHECKING:
    from ociserver.handler.call import Call
    from ociserver.interface import BlobReader, Descriptor

__all__ = ["delete", "get", "head"]


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
    if call.site.options.locations_for_descriptor:
        urls = await locations.of_descriptor(call, await _resolve(call), is_manifest=False)
        if urls:
            return empty(307, [(b"location", text(urls[0]))])
    if call.if_none_match is not None:
        descriptor = await _resolve(call)
        if call.not_modified(descriptor.digest):
            return not_modified(descriptor)
    if call.site.redirects.allow(call.scope, call.headers):
        location = await call.site.backend.locate_blob(request.repository, request.digest)
        if location is not None:
            return empty(307, [(b"location", text(location.url))])
    ranges = None if call.range is None else await _ranges(call, call.range)
    if ranges is not None and len(ranges) > 1:
        blob = await _resolve(call)
        spans = resolve(ranges, blob.size)
        if spans:
            await send_parts(call, blob, spans)
            return None
        if blob.size or not any(map(begins, ranges)):
            raise _unsatisfiable("no part of the range lies inside the blob", blob.size)
        ranges = None
    reader, is_part = await _open(call, ranges[0] if ranges else None)
    try:
        start, stop = reader.range
        headers = content_headers(reader.descriptor, stop - start)
        headers.append(ACCEPT_RANGES)
        if is_part:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, reader.descriptor.size)))
        status = 206 if is_part else 200
        content = getattr(reader, "location", None)
        if isinstance(content, bytes) and len(content) == stop - start:
            # One answer without a generator is twice as fast.
            return status, headers, content
        await call.start(status, headers)
        if stop - start > WATCH_SIZE:
            async with watched(call):
                await _send(call, reader)
        else:
            await _send(call, reader)
    finally:
        await reader.aclose()
    return None


async def delete(call: Call) -> Answer:
    """end-10, DELETE /v2/<name>/blobs/<digest>: 202, 404/405."""
    assert call.request.repository
    assert call.request.digest
    await call.site.backend.delete_blob(call.request.repository, call.request.digest)
    return empty(202, [])


async def _resolve(call: Call) -> Descriptor:
    assert call.request.repository
    assert call.request.digest
    return await call.site.backend.resolve_blob(call.request.repository, call.request.digest)


async def _ranges(call: Call, header: bytes) -> list[ByteRange] | None:
    """What the Range header asks for; None for the whole blob."""
    condition = call.headers.get(b"if-range")
    if condition is not None and condition.strip() != etag(call.request.digest or ""):
        # The condition names another content, or a date. No content has a date here (RFC 9110, 13.1.5).
        return None
    try:
        return parse_range(header)
    except OCIError as error:
        raise _unsatisfiable(str(error.message), (await _resolve(call)).size) from None


async def _open(call: Call, wanted: ByteRange | None) -> tuple[BlobReader, bool]:
    """Open the blob. Also returns whether the reader gives the wanted part, and not the whole blob."""
    backend, repository, digest = call.site.backend, call.request.repository, call.request.digest
    assert repository
    assert digest
    try:
        return await backend.get_blob(repository, digest, wanted), wanted is not None
    except OCIError as error:
        size = error.detail.get("size") if isinstance(error.detail, dict) else None
        if error.code != "RANGE_INVALID" or size is None:
            raise
        if size or wanted is None or not begins(wanted):
            raise _unsatisfiable(error.message, size) from None
    return await backend.get_blob(repository, digest), False


async def _send(call: Call, reader: BlobReader) -> None:
    start, stop = reader.range
    left = stop - start
    if left == 0:
        await call.write(b"", more=False)
    async for data in exactly(aiter(reader), left, reader.descriptor.digest):
        left -= len(data)
        await write(call, data, more=left > 0)


def _unsatisfiable(message: str, size: int) -> OCIError:
    return OCIError("RANGE_INVALID", message, headers={"Content-Range": f"bytes */{size}"})
