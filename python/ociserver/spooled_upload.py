"""One request of an upload that waits in a temporary file for its `push_blob`."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Final

from ociserver.digests import check_digest
from ociserver.errors import OCIError
from ociserver.spool import IN_MEMORY, Spool, Spooled
from ociserver.values import Descriptor

__all__ = ["PushBlob", "SpooledUpload"]

PIECE: Final = 256 * 1024
"""Bytes that are read at a time."""

_MEDIA_TYPE: Final = "application/octet-stream"

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

PushBlob = Callable[[str, Descriptor, AsyncIterable[bytes]], Awaitable[Descriptor]]
"""`Writer.push_blob` of a backend."""


class SpooledUpload:
    """A `BlobWriter`. It becomes the only writer of its upload with the first write or commit.

    Args:
        spool: has the upload, and all others.
        upload: the upload that is written to.
        offset: where the bytes of the request begin; None: at the end of the upload, wherever that is.
        push_blob: takes all bytes at the end, and verifies their digest.
    """

    chunk_size = 0

    def __init__(self, spool: Spool, upload: Spooled, offset: int | None, push_blob: PushBlob) -> None:
        self._spool = spool
        self._upload = upload
        self._offset = offset
        self._push_blob = push_blob

    @property
    def id(self) -> str:
        return self._upload.id

    @property
    def size(self) -> int:
        return self._upload.size

    async def write(self, data: bytes) -> None:
        if not data:
            return
        upload = self._take()
        if self._offset not in (None, upload.size):
            self._release()
            raise OCIError(
                "RANGE_INVALID", f"invalid offset {self._offset} in resumed upload (actual offset {upload.size})"
            )
        self._offset = None
        self._spool.take(upload, len(data))

        def append() -> None:
            # An earlier write may have failed in the middle.
            upload.file.seek(upload.size)
            upload.file.write(data)
            upload.file.flush()

        try:
            await upload.run(append, is_short=upload.size + len(data) <= IN_MEMORY)
            if upload.ended:
                # It was cancelled during the write.
                raise OCIError("BLOB_UPLOAD_UNKNOWN")
        except OSError as error:
            self._spool.give(len(data))
            if error.errno in _FULL:
                raise OCIError("UNKNOWN", "the folder of unfinished uploads is full", status=507) from error
            raise
        except BaseException:
            self._spool.give(len(data))
            raise
        upload.size += len(data)

    async def commit(self, digest: str) -> Descriptor:
        check_digest(digest)
        upload = self._take()
        pushed = await self._push_blob(
            upload.repository, Descriptor(_MEDIA_TYPE, digest, upload.size), self._content(upload)
        )
        self._spool.end(upload)
        return pushed

    async def cancel(self) -> None:
        self._spool.end(self._upload)

    async def aclose(self) -> None:
        self._release()
        self._spool.touch(self._upload)

    async def _content(self, upload: Spooled) -> AsyncIterator[bytes]:
        for start in range(0, upload.size, PIECE):

            def read(start: int = start) -> bytes:
                upload.file.seek(start)
                return upload.file.read(min(PIECE, upload.size - start))

            if upload.ended:
                raise OCIError("BLOB_UPLOAD_UNKNOWN")
            yield await upload.run(read, is_short=upload.size <= IN_MEMORY)

    def _take(self) -> Spooled:
        upload = self._upload
        if upload.ended:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if upload.writer is not self:
            if upload.writer is not None:
                raise OCIError("RANGE_INVALID", "another request is writing to this upload")
            upload.writer = self
        return upload

    def _release(self) -> None:
        if self._upload.writer is self:
            self._upload.writer = None
