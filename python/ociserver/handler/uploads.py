"""Uploads: in one request, in chunks, from another repository (spec: end-4, end-5, end-6, end-11, end-13, end-14)."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from ociserver._core import parse_content_range
from ociserver.adapt import refresh, write_all
from ociserver.errors import OCIError
from ociserver.handler import locations
from ociserver.handler.responses import Answer, Headers, empty
from ociserver.interface import UNKNOWN_SIZE, BlobWriter, Descriptor

if TYPE_CHECKING:
    from ociserver.handler.call import Call

__all__ = ["cancel", "chunk", "complete", "info", "mount", "push", "start"]

_MEDIA_TYPE: Final = "application/octet-stream"

_CANNOT_MOUNT: Final = frozenset({"NAME_UNKNOWN", "BLOB_UNKNOWN", "UNSUPPORTED"})
"""Errors of a mount that do not fail the request: the client then uploads the blob."""


async def start(call: Call) -> Answer:
    """end-4a, POST /v2/<name>/blobs/uploads/: 202, 404; end-4c with `digest-algorithm`."""
    request = call.request
    assert request.repository
    writer = await call.site.backend.push_blob_chunked(
        request.repository, algorithm=request.digest_algorithm or "sha256"
    )
    async with aclosing(writer):
        return empty(202, await _progress(call, writer))


async def push(call: Call) -> Answer:
    """end-4b, POST /v2/<name>/blobs/uploads/?digest=<digest>: 201/202, 404/400."""
    if call.site.options.disable_single_post_upload:
        # 202 tells the client that the body was not used, and where to upload it.
        return await start(call)
    repository, digest = call.request.repository, call.request.digest
    assert repository
    assert digest
    size = UNKNOWN_SIZE if call.body.length is None else call.body.length
    descriptor = await call.site.backend.push_blob(repository, Descriptor(_MEDIA_TYPE, digest, size), call.body)
    return await _created(call, descriptor)


async def mount(call: Call) -> Answer:
    """end-11, POST /v2/<name>/blobs/uploads/?mount=<digest>&from=<other_name>: 201/202, 404."""
    request = call.request
    assert request.repository
    assert request.digest
    try:
        descriptor = await call.site.backend.mount_blob(request.from_repository, request.repository, request.digest)
    except OCIError as error:
        if error.code not in _CANNOT_MOUNT:
            raise
        return await start(call)
    return await _created(call, descriptor)


async def info(call: Call) -> Answer:
    """end-13, GET <location>: 204, 404."""
    async with aclosing(await _resume(call, None)) as writer:
        await refresh(writer)
        return 204, await _progress(call, writer), b""


async def chunk(call: Call) -> Answer:
    """end-5, PATCH <location>: 202, 404/416."""
    writer = await _resume(call, _offset(call))
    async with aclosing(writer):
        await write_all(writer, call.body)
    # Only now, a backend that is a remote registry has acknowledged everything, and knows the location.
    return empty(202, await _progress(call, writer))


async def complete(call: Call) -> Answer:
    """end-6, PUT <location>?digest=<digest>: 201, 404/400/416."""
    digest = call.request.digest
    assert digest
    async with aclosing(await _resume(call, _offset(call))) as writer:
        await write_all(writer, call.body)
        descriptor = await writer.commit(digest)
    return await _created(call, descriptor)


async def cancel(call: Call) -> Answer:
    """end-14, DELETE <location>: 204, 404."""
    async with aclosing(await _resume(call, None)) as writer:
        await writer.cancel()
    return 204, [], b""


async def _resume(call: Call, offset: int | None) -> BlobWriter:
    request = call.request
    assert request.repository
    assert request.upload_id
    return await call.site.backend.push_blob_chunked_resume(
        request.repository, request.upload_id, offset=offset, digest=request.digest
    )


def _offset(call: Call) -> int | None:
    """Where the body begins, from its Content-Range. Without this header None: at the end of the upload."""
    header = call.headers.get(b"content-range")
    if header is None:
        return None
    first, last = parse_content_range(header)
    length = call.body.length
    # `0-0` means one byte, but some clients write it for none. The length tells which.
    if length is not None and length != last - first + 1 and not (length == 0 and first == last == 0):
        raise OCIError(
            "UNSUPPORTED", f"the Content-Range is of {last - first + 1} bytes, but the Content-Length is {length}"
        )
    return first


async def _created(call: Call, descriptor: Descriptor) -> Answer:
    location = await locations.of_pushed(call, descriptor, is_manifest=False)
    return empty(201, [location, (b"docker-content-digest", descriptor.digest.encode())])


async def _progress(call: Call, writer: BlobWriter) -> Headers:
    """Headers: where the upload continues, and how far it is."""
    # Read once: the size grows while another request writes.
    size = writer.size
    headers = [
        (b"location", await locations.of_upload(call, writer.id)),
        # Zero bytes look like one byte, because this header cannot say zero (spec: pushing a blob in chunks).
        (b"range", b"0-%d" % max(size - 1, 0)),
        # This header tells them apart (draft-ietf-httpbis-resumable-upload, 4.1). Our own client reads it.
        (b"upload-offset", b"%d" % size),
    ]
    if writer.chunk_size > 0:
        headers.append((b"oci-chunk-min-length", b"%d" % writer.chunk_size))
    return headers
