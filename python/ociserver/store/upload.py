"""Uploads: what one request holds of one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from ociserver._core import digest_of, is_digest
from ociserver.errors import OCIError
from ociserver.interface import CHUNK_SIZE, Descriptor
from ociserver.store import writes
from ociserver.store.faults import is_full
from ociserver.store.reads import UploadRow
from ociserver.store.writer import BOOT_SIZE, NO_BOOT

if TYPE_CHECKING:
    from ociserver.store.backend import Store
    from ociserver.store.writer import FileWriter

__all__ = ["INLINE_SIZE", "Upload", "content_of", "is_in_file"]

INLINE_SIZE: Final = 16 * 1024
"""Bytes up to which a blob lives in the database: one commit instead of a file, its sync and its folder's. So does what
has come of an upload between its requests."""

_IN_ROW: Final = b"\xff" * BOOT_SIZE
"""In the place of a boot's name in the state of an upload: behind it is all that has come, and there is no file."""


TOUCH_AFTER_S: Final = 60
"""How often an upload under way is noted, so that collection leaves it alone."""


def content_of(row: UploadRow) -> bytes | None:
    """All that has come, if it is in the row and not in a file."""
    content = row.state[BOOT_SIZE:]
    return content if row.state.startswith(_IN_ROW) and len(content) == row.size else None


def is_in_file(row: UploadRow) -> bool:
    """Whether there is a file that says how far the upload is: as far as the row says, or farther."""
    return row.size > 0 and content_of(row) is None


class Upload:
    """A `BlobWriter` of the store.

    What comes stays in memory up to `INLINE_SIZE`, and in the row between two requests, so that a small blob never
    touches a file. Beyond that it goes to the file.

    One writer at a time: within a process by the store's `writing`, between processes by the lock on the
    file, and where there is no file by the size that the row must still have when this one is recorded.

    A request that a full disk has refused leaves nothing behind: what it brought is cut off when it ends.

    Args:
        store: that it is of.
        repository: that it is in.
        row: how far it is.
        offset: at which the first bytes have to begin; None for wherever it ends.
        remembered: whether that is what this process has recorded last, and not what the database has just said. What
            is small is then kept without asking: the transaction that records or ends it sees whether it is still so.
    """

    chunk_size = CHUNK_SIZE

    def __init__(
        self, store: Store, repository: str, row: UploadRow, offset: int | None, *, remembered: bool = False
    ) -> None:
        self._store = store
        self._repository = repository
        self._row = row
        self._offset = offset
        self._remembered = remembered
        # All that has come, while it is in no file.
        self._buffer = content_of(row) or b""
        self._file: FileWriter | None = None
        self._claimed = False
        self._ended = False
        self._changed = False
        self._committing = False
        # Whether the last that was tried has failed because the disk is full, and how far the file was before.
        self._is_refused = False
        self._acknowledged = 0
        self._touched = int(time.time())

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def size(self) -> int:
        if self._file:
            return self._file.size
        if is_in_file(self._row):
            # More than was recorded, or less after a power cut: the client is told what there is.
            return self._store.blobs.size(self._row.id) or 0
        return max(self._row.size, len(self._buffer))

    async def write(self, data: bytes) -> None:
        if data:
            with self._noting_refusal():
                self._store.room.check()
                await self._write(data)

    async def _write(self, data: bytes) -> None:
        if self._remembered and self._offset in (self.size, None) and len(self._buffer) + len(data) <= INLINE_SIZE:
            self._take()
            self._offset, self._changed = None, True
            self._buffer += data
            return
        await self._claim()
        self._begin()
        await self._touch()
        if self._file is None and len(self._buffer) + len(data) <= INLINE_SIZE:
            self._buffer += data
            return
        try:
            file = await self._to_file()
        except OCIError as error:
            if error.code == "RANGE_INVALID":
                # Another request is writing, or has written: it must not be defeated by one that was refused.
                self._changed = False
            raise
        await file.write(data)

    async def written(self) -> int:
        """Bytes that there are, when all that came is where it stays. Raises what has gone wrong with a piece."""
        if self._file:
            with self._noting_refusal():
                await self._file.written()
                self._file.check()
        return self.size

    async def open_sink(self) -> FileWriter | None:
        """The file, once there is one: a `Sink`, into which something is to come. It is made by `write`."""
        if self._ended or self._remembered:
            return None
        with self._noting_refusal():
            # Asked for again while pieces come, at least every second.
            self._store.room.check()
        if not self._changed:
            await self._claim()
            if self._file:
                self._begin()
        return self._file

    async def commit(self, digest: str) -> Descriptor:
        if not is_digest(digest):
            raise OCIError("DIGEST_INVALID", "badly formed digest")
        with self._noting_refusal():
            self._store.room.check()
            return await self._commit(digest)

    async def _commit(self, digest: str) -> Descriptor:
        algorithm = digest.partition(":")[0]
        if self._remembered and digest_of(self._buffer, algorithm) == digest:
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
        content = None if self._file else self._buffer
        self._committing = True
        try:
            linked = await self._store.link(self._repository, digest, self.size, upload=self._row, content=content)
        except OCIError as error:
            # Other errors may come after the commit.
            self._committing = not (self._file and is_full(error))
            raise
        self._end()
        return linked

    async def cancel(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._store.forget(self._row.id)
        try:
            if self._is_refused:
                # First, so that there is room to write down that it has ended.
                await self._cut(0)
            # Only whoever ends the row may delete the file: a commit ends it too, and keeps the file.
            if await self._store.free(partial(writes.end_upload, self._row.id), durable=False):
                await self._store.blobs.delete([self._row.id])
        except Exception:
            # Not even this can be written down; at least the bytes go.
            await self._cut(0)
            raise
        finally:
            self._end()

    async def aclose(self) -> None:
        if self._ended:
            self._end()
            return
        try:
            self._ended = True
            if self._remembered and not self._changed and not self._committing:
                # Nothing came that is to be recorded, which would have told that the upload has been ended.
                self._row = await self._store.find_upload(self._repository, self._row.id)
            failure = await self._failure()
            if self._is_refused:
                await self._cut(self._acknowledged)
            try:
                # What came with a commit that failed comes again with the next try; what is in a file is there anyway.
                if self._changed and (self._file or not self._committing):
                    await self._suspend()
                elif self._file:
                    self._file.put_back()
            except OCIError as error:
                if is_full(error):
                    await self._cut(self._acknowledged)
                raise
            if failure:
                raise failure
        finally:
            self._end()

    async def _failure(self) -> Exception | None:
        """What has gone wrong with a piece, when all that came is where it stays or lost."""
        if self._file is None:
            return None
        await self._file.written()
        try:
            self._file.check()
        except Exception as error:
            self._is_refused = self._is_refused or is_full(error)
            return error
        return None

    async def _cut(self, size: int) -> None:
        """Give back what is in the file behind so many bytes, unless it may have become a blob."""
        if self._file and not self._committing:
            # If it cannot be, it counts as what came of a request that was broken off.
            with contextlib.suppress(OSError, OCIError):
                await self._file.cut(size)

    @contextlib.contextmanager
    def _noting_refusal(self) -> Iterator[None]:
        try:
            yield
        except OCIError as error:
            self._is_refused = is_full(error)
            raise
        self._is_refused = False

    async def _suspend(self) -> None:
        """Record how far it is, unless its file says that, for whoever goes on with it; and see that it is there."""
        try:
            if self._file is None:
                if self._remembered and self._store.blobs.is_held(self._row.id):
                    # A request that stalled must not defeat, by its few bytes, what was sent in its place.
                    raise OCIError("RANGE_INVALID", "another request is writing to this upload")
                self._row = await self._record(self._row, len(self._buffer), _IN_ROW + self._buffer)
                self._store.remember(self._repository, self._row)
            else:
                is_nothing = not self._file.size and not is_in_file(self._row)
                state = None if is_nothing else await self._file.suspend()
                if state is None:
                    await self._store.find_upload(self._repository, self._row.id)
                else:
                    self._row = await self._record(self._row, self._file.size, state)
        except OCIError as error:
            if error.code != "BLOB_UPLOAD_UNKNOWN":
                raise
            await self._store.discard(self._row.id)
            # A commit that was broken off has happened after all: then there is nothing to suspend.
            if not self._committing:
                raise

    async def _record(self, row: UploadRow, size: int, state: bytes) -> UploadRow:
        await self._store.take(writes.suspend_upload(row, size, state, int(time.time())), durable=False)
        return UploadRow(row.id, row.algorithm, size, state)

    def _begin(self) -> None:
        """See that what comes first belongs where the upload is."""
        if self._offset not in (self.size, None):
            cause = OCIError("RANGE_INVALID")
            raise OCIError(
                "RANGE_INVALID", f"invalid offset {self._offset} in resumed upload (actual offset {self.size})"
            ) from cause
        self._offset, self._changed = None, True

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
        if self._remembered:
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
            self._row, content = row, content_of(row)
            self._buffer = content or b""
            # A file that there should not be yet is that of another process's writer, or what one that died has left.
            if is_in_file(row) or self._store.blobs.size(row.id) is not None:
                self._file, self._row = await self._hold()
                self._buffer = b""
        except BaseException:
            self._let_go()
            raise

    async def _look(self) -> None:
        """See how far the upload really is, and write what this request has brought, as if it had come now."""
        self._remembered = False
        data = self._buffer[self._row.size :]
        if data:
            self._offset, self._changed = self._row.size, False
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
        self._store.forget(self._row.id)
        self._claimed = True

    def _let_go(self) -> None:
        if self._claimed:
            self._claimed = False
            self._store.writing.discard(self._row.id)

    async def _to_file(self) -> FileWriter:
        if self._file is None:
            file, row = await self._hold()
            # What is ours goes on from the row as it was claimed, and that stays the one that it is recorded over.
            if row.size != self._row.size:
                file.close()
                raise OCIError("RANGE_INVALID", "another request has written to this upload meanwhile")
            self._file, more, self._buffer = file, self._buffer[row.size :], b""
            if more:
                await file.write(more)
        return self._file

    async def _hold(self) -> tuple[FileWriter, UploadRow]:
        """Lock the file, and see under the lock how far the upload really is."""
        file = await self._store.blobs.hold(self._row.id, self._row.algorithm)
        try:
            row = await self._store.find_upload(self._repository, self._row.id)
            content = content_of(row)
            if content is None:
                await file.restore(row.size, row.state)
                self._acknowledged = file.size
            else:
                await file.restore(0, b"")
                await file.write(content)
                # It was acknowledged, and is to be there before anything is recorded in the place of the row's.
                await file.written()
                file.check()
            if file.size < row.size:
                # Bytes have gone. Their hash must not vouch for what comes in their place, if nothing more is noted.
                row = await self._record(row, file.size, NO_BOOT)
        except BaseException as error:
            file.close()
            if isinstance(error, OCIError) and error.code == "BLOB_UPLOAD_UNKNOWN":
                # It was ended meanwhile, and its file perhaps made anew just now.
                await asyncio.shield(self._store.discard(self._row.id))
            raise
        return file, row

    def _end(self) -> None:
        self._ended, self._remembered = True, False
        self._let_go()
        if self._file is not None:
            self._file.close()
