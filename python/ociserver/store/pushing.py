"""Pushes a blob in one request."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable

from ociserver.adapt import write_all
from ociserver.digests import check_digest, content_digest
from ociserver.errors import OCIError
from ociserver.interface import UNKNOWN_SIZE, Descriptor
from ociserver.store.opening import start_upload
from ociserver.store.upload import Upload
from ociserver.store.uploads import Uploads
from ociserver.store.writes import Stored

__all__ = ["push_blob"]


async def push_blob(
    uploads: Uploads, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]
) -> Descriptor:
    """`Writer.push_blob`: a small blob takes one transaction, a larger one becomes an upload.

    Args:
        uploads: the uploads of the store.
        repository: the repository to push to.
        descriptor: only its digest and size are used.
        chunks: the bytes.

    Raises:
        OCIError: DIGEST_INVALID, SIZE_INVALID; 507 if the disk is full.
    """
    check_digest(descriptor.digest)
    algorithm = descriptor.digest.partition(":")[0]
    uploads.room.check()
    head = b""
    upload: Upload | None = None
    try:
        content = aiter(chunks)
        async for data in content:
            if len(head) + len(data) <= uploads.inline_size:
                head += data
                continue
            upload = await start_upload(uploads, repository, algorithm)
            await upload.write(head)
            await upload.write(data)
            await write_all(upload, content)
            break
        size = await upload.written() if upload else len(head)
        if descriptor.size not in (UNKNOWN_SIZE, size):
            raise OCIError("SIZE_INVALID", detail={"expected": descriptor.size, "received": size})
        if upload:
            return await upload.commit(descriptor.digest)
        return await uploads.commit(
            repository, content_digest(head, descriptor.digest), size, upload=None, stored=Stored(content=head)
        )
    except BaseException:
        if upload:
            # The client gets the error of its push, and not one of the cancellation.
            with contextlib.suppress(Exception):
                await upload.cancel()
        raise
