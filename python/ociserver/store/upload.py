"""Uploads: what one request holds of one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from ociserver._core import digest_of, is_digest
from ociserver.errors import OCIError
from ociserver.interface import CHUNK_SIZE, Descriptor
from ociserver.store import writes
from ociserver.store.reads import UploadRow
from ociserver.store.writer import NO_BOOT

if TYPE_CHECKING:
    from ociserver.store.backend import Store
    from ociserver.store.writer import FileWriter

__all__ = ["INLINE_SIZE", "Upload"]

INLINE_SIZE: Final = 16 * 1024
"""Bytes up to which a blob lives in the database: one commit instead of a file, its sync and its folder's."""


TOUCH_AFTER_S: Final = 60
"""How often an upload under way is noted, so that collection leaves it alone."""


class Upload:
    """A `BlobWriter` of the store.

    What a request brings stays in memory up to `INLINE_SIZE`, so that a small blob that comes in one request
    never touches a file. Beyond that, or when the request ends before the blob does, it goes to the file.

    One writer at a time: within a process by the store's `writing`, between processes by the lock on the
    file, and where there is no file yet by the size that the row must still have when this one is recorded.

    Args:
        store: that it is of.
        repository: that it is in.
        row: how far it is.
        offset: at which the first bytes have to begin; None for wherever it ends.
        untouched: whether nobody has written to it as far as this process knows, which started it, and this
            request is to complete it. Then a small blob is kept without asking the database how far the upload is:
            if the digest is right, only the transaction that ends it has to see that it is still so.
    """

    chunk_size = CHUNK_SIZE

    def __init__(
        self, store: Store, repository: str, row: UploadRow, offset: int | None, *, untouched: bool = False
    ) -> None:
        self._store = store
        self._repository = repository
        self._row = row
        self._offset = offset
        self._untouched = untouched
        self._buffer = b""
        self._file: FileWriter | None = None
        self._claimed = False
        self._ended = False
        self._changed = False
        self._committing = False
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
        if self._untouched and self._offset in (0, None) and len(self._buffer) + len(data) <= INLINE_SIZE:
            self._take()
            self._buffer += data
            return
        await self._claim()
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

    @property
    def sink(self) -> FileWriter | None:
        """The file, once it is ours and written to: a `Sink`."""
        return None if self._ended or not self._changed else self._file

    async def commit(self, digest: str) -> Descriptor:
        if not is_digest(digest):
            raise OCIError("DIGEST_INVALID", "badly formed digest")
        algorithm = digest.partition(":")[0]
        if self._untouched and digest_of(self._buffer, algorithm) == digest:
            self._take()
            found = digest
        else:
            await self._claim()
            found = await self._file.digest(algorithm) if self._file else digest_of(self._buffer, algorithm)
        if found != digest:
            raise OCIError("DIGEST_INVALID", detail={"digest": digest, "content": found})
        if self._file:
            try:
                await self._file.finish()
            except Exception:
                # Of a sync that failed nobody knows what reached the disk, and the next one says nothing of it.
                with contextlib.suppress(Exception):
                    await self.cancel()
                raise
        self._committing = True
        linked = await self._store.link(
            self._repository,
            digest,
            self.size,
            upload=self._row,
            content=None if self._file else self._buffer,
        )
        self._end()
        return linked

    async def cancel(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._store.untouched.pop(self._row.id, None)
        try:
            # Only whoever ends the row may delete the file: a commit ends it too, and keeps the file.
            # Whoever has the file open can give its bytes back, and needs no room that is kept for others.
            end = partial(writes.end_upload, self._row.id)
            write = (
                self._store.database.write(end(), durable=False) if self._file else self._store.free(end, durable=False)
            )
            if await write:
                await self._store.blobs.delete([self._row.id])
        except Exception:
            # On a full disk not even this can be written down; at least the bytes go.
            if self._file and not self._committing:
                with contextlib.suppress(Exception):
                    await self._file.clear()
            raise
        finally:
            self._end()

    async def aclose(self) -> None:
        if self._ended:
            self._end()
            return
        try:
            if self._untouched and self._buffer and not self._committing:
                await self._claim()
            self._ended = True
            if self._file:
                await self._file.written()
            if self._changed:
                await self._suspend()
            if self._file:
                self._file.check()
        finally:
            self._end()

    async def _suspend(self) -> None:
        """Record how far it is, for whoever goes on with it."""
        try:
            file = await self._to_file()
            state = await file.suspend()
            await self._record(file.size, state)
        except OCIError as error:
            if error.code != "BLOB_UPLOAD_UNKNOWN":
                raise
            await self._store.discard(self._row.id)
            # A commit that was broken off has happened after all: then there is nothing to suspend.
            if not self._committing:
                raise

    async def _record(self, size: int, state: bytes) -> None:
        suspended = writes.suspend_upload(self._row.id, size, state, int(time.time()))
        await self._store.database.write(suspended, durable=False)

    async def _touch(self) -> None:
        """A request that takes very long must not look abandoned."""
        now = int(time.time())
        if now - self._touched >= TOUCH_AFTER_S:
            self._touched = now
            await self._store.database.write(writes.touch_upload(self._row.id, now), durable=False)

    async def _claim(self) -> None:
        """Make sure that the upload is still there, and at the first time that nobody else writes to it."""
        if self._ended:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if self._untouched:
            await self._look()
            return
        try:
            row = await self._store.find_upload(self._repository, self._row.id)
        except OCIError:
            self._ended = True
            await self._store.discard(self._row.id)
            raise
        if self._claimed:
            return
        self._take()
        try:
            self._row = row
            # A file beside a size of 0 is that of another process's writer, or what one that died has left.
            if row.size > 0 or self._store.blobs.size(row.id) is not None:
                self._file = await self._hold()
        except BaseException:
            self._let_go()
            raise

    async def _look(self) -> None:
        """See how far the upload really is, and write what was only kept, as if it had come now."""
        self._untouched = False
        data, self._buffer = self._buffer, b""
        self._let_go()
        await self._claim()
        await self.write(data)

    def _take(self) -> None:
        """Be the only one in this process that writes to the upload."""
        if self._claimed:
            return
        if self._row.id in self._store.writing:
            raise OCIError("RANGE_INVALID", "another request is writing to this upload")
        self._store.writing.add(self._row.id)
        self._store.untouched.pop(self._row.id, None)
        self._claimed = True

    def _let_go(self) -> None:
        if self._claimed:
            self._claimed = False
            self._store.writing.discard(self._row.id)

    async def _to_file(self) -> FileWriter:
        if self._file is None:
            file = await self._hold()
            if file.size > 0:
                file.close()
                self._changed = False
                raise OCIError("RANGE_INVALID", "another request has written to this upload meanwhile")
            self._file, buffer, self._buffer = file, self._buffer, b""
            if buffer:
                await file.write(buffer)
        return self._file

    async def _hold(self) -> FileWriter:
        """Lock the file, and see under the lock how far the upload really is."""
        file = await self._store.blobs.hold(self._row.id, self._row.algorithm)
        try:
            self._row = await self._store.find_upload(self._repository, self._row.id)
            await file.restore(self._row.size, self._row.state)
            if file.size != self._row.size:
                # Bytes have gone. Their hash must not vouch for what comes in their place, if nothing more is noted.
                self._row = UploadRow(self._row.id, self._row.algorithm, file.size, NO_BOOT)
                await self._record(file.size, NO_BOOT)
        except BaseException as error:
            file.close()
            if isinstance(error, OCIError) and error.code == "BLOB_UPLOAD_UNKNOWN":
                # It was ended meanwhile, and its file perhaps made anew just now.
                await asyncio.shield(self._store.discard(self._row.id))
            raise
        return file

    def _end(self) -> None:
        self._ended, self._untouched = True, False
        self._let_go()
        if self._file is not None:
            self._file.close()
