"""Uploads: what one request holds of one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from ociserver._core import digest_of, is_digest
from ociserver.errors import OCIError
from ociserver.interface import CHUNK_SIZE, Descriptor
from ociserver.store import reads, writes

if TYPE_CHECKING:
    from ociserver.store.backend import Store
    from ociserver.store.directory import FileWriter
    from ociserver.store.reads import UploadRow

__all__ = ["INLINE_SIZE", "Upload"]

INLINE_SIZE: Final = 16 * 1024
"""Bytes up to which a blob lives in the database: one commit instead of a file, its sync and its folder's."""


TOUCH_AFTER_S: Final = 60
"""How often an upload under way is noted, so that collection leaves it alone."""


class Upload:
    """A `BlobWriter` of the store.

    What a request brings stays in memory up to `INLINE_SIZE`, so that a small blob that comes in one request
    never touches a file. Beyond that, or when the request ends before the blob does, it goes to the file.
    """

    chunk_size = CHUNK_SIZE

    def __init__(self, store: Store, repository: str, row: UploadRow, offset: int | None) -> None:
        self._store = store
        self._repository = repository
        self._row = row
        self._offset = offset
        self._buffer = b""
        self._file: FileWriter | None = None
        self._ended = False
        self._changed = False
        self._touched = int(time.time())

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def size(self) -> int:
        return self._file.size if self._file else self._row.size + len(self._buffer)

    async def write(self, data: bytes) -> None:
        if not data:
            return
        await self._take()
        if self._offset is not None:
            if self._offset != self.size:
                cause = OCIError("RANGE_INVALID")
                raise OCIError(
                    "RANGE_INVALID", f"invalid offset {self._offset} in resumed upload (actual offset {self.size})"
                ) from cause
            self._offset = None
        self._changed = True
        await self._touch()
        if self._file is None and len(self._buffer) + len(data) <= INLINE_SIZE:
            self._buffer += data
            return
        file = await self._to_file()
        await file.write(data)

    async def commit(self, digest: str) -> Descriptor:
        if not is_digest(digest):
            raise OCIError("DIGEST_INVALID", "badly formed digest")
        await self._take()
        algorithm = digest.partition(":")[0]
        found = await self._file.digest(algorithm) if self._file else digest_of(self._buffer, algorithm)
        if found != digest:
            raise OCIError("DIGEST_INVALID", detail={"digest": digest, "content": found})
        if self._file:
            await self._file.finish()
        linked = await self._store.link(
            self._repository,
            digest,
            self.size,
            upload_id=self._row.id,
            content=None if self._file else self._buffer,
        )
        self._ended = True
        self._close()
        return linked

    async def cancel(self) -> None:
        if self._ended:
            return
        self._ended = True
        await self._store.database.write(writes.end_upload(self._row.id), durable=False)
        await self._store.blobs.delete([self._row.id])
        self._close()

    async def aclose(self) -> None:
        if self._ended:
            return
        self._ended = True
        try:
            if self._changed:
                file = await self._to_file()
                await self._store.database.write(
                    writes.suspend_upload(self._row.id, file.size, file.suspend(), int(time.time())), durable=False
                )
        finally:
            self._close()

    async def _touch(self) -> None:
        """A request that takes very long must not look abandoned."""
        now = int(time.time())
        if now - self._touched >= TOUCH_AFTER_S:
            self._touched = now
            await self._store.database.write(writes.touch_upload(self._row.id, now), durable=False)

    async def _take(self) -> None:
        """Take hold of the upload's file, if it has one."""
        if self._ended:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if self._file is None and self._row.size > 0:
            self._file = await self._hold()

    async def _to_file(self) -> FileWriter:
        if self._file is None:
            file = await self._hold()
            self._file, buffer, self._buffer = file, self._buffer, b""
            if file.size > 0:
                raise OCIError("RANGE_INVALID", "another request has written to this upload meanwhile")
            if buffer:
                await file.write(buffer)
        return self._file

    async def _hold(self) -> FileWriter:
        """Lock the file, and see under the lock how far the upload really is."""
        file = await self._store.blobs.hold(self._row.id, self._row.algorithm)
        try:
            self._row = await self._store.database.read(reads.find_upload(self._repository, self._row.id))
            await file.restore(self._row.size, self._row.state)
        except BaseException as error:
            file.close()
            if isinstance(error, OCIError):
                # It was ended meanwhile, and its file made anew just now.
                await self._store.blobs.delete([self._row.id])
            raise
        return file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
