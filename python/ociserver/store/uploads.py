"""Finds, claims, records and ends the uploads of a store, in the database and as files."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from functools import partial
from typing import Final, NamedTuple

from ociserver.errors import OCIError
from ociserver.interface import Descriptor
from ociserver.lru import LRU
from ociserver.store import collecting, reads, writes
from ociserver.store.blobs import IN_ROW, Blobs, UploadContent
from ociserver.store.reads import UploadRow
from ociserver.store.room import Room
from ociserver.store.transaction import Metadata
from ociserver.store.upkeep import Upkeep
from ociserver.store.writes import CheckedCopy, Stored, UncheckedCopyError

__all__ = ["INLINE_SIZE", "Claim", "Remembered", "Uploads", "content_of", "is_in_file", "is_upload_id"]

INLINE_SIZE: Final = 16 * 1024
"""The most bytes of a blob that is kept in the database: one commit, instead of a file and two syncs."""

MAX_REMEMBERED: Final = 256
"""Rows that are remembered, some 0.5 KiB each and up to 16 KiB of content."""

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

_log = logging.getLogger("ociserver")


def is_upload_id(text: str) -> bool:
    """Whether an upload can have this id. An id is a key of `Blobs`, so check each id that a client sends."""
    return _ID.fullmatch(text) is not None


def is_in_file(row: UploadRow) -> bool:
    """Whether the bytes of an upload are in its file, which may have more than the row says."""
    return row.size > 0 and not (row.state.startswith(IN_ROW) and len(row.state) == len(IN_ROW) + row.size)


def content_of(row: UploadRow) -> bytes | None:
    """All bytes of an upload, if they are in its row and not in a file."""
    return row.state[len(IN_ROW) :] if row.size and not is_in_file(row) else None


class Claim:
    """One writer of this process has an upload. No other writer of the process gets it until `Uploads.release`."""

    __slots__ = ("has_ended", "upload_id")

    def __init__(self, upload_id: str) -> None:
        self.upload_id = upload_id
        self.has_ended = False
        """Whether another request of this process has cancelled the upload."""


class Remembered(NamedTuple):
    """A row that this process has recorded, for the next request of the upload."""

    repository: str
    row: UploadRow
    epoch: int | None
    """`Metadata.epoch` before the row was recorded."""


class Uploads:
    """Finds, claims, records and ends uploads.

    Args:
        database: has a row for each upload.
        blobs: has a file for each upload that is larger than what a row holds.
        room: the space on the disk.
        upkeep: runs transactions that need space, and those that free space.
        inline_size: the most bytes of an upload that are kept in its row.
        max_remembered: rows that are remembered.

    """

    def __init__(
        self,
        database: Metadata,
        blobs: Blobs,
        room: Room,
        upkeep: Upkeep,
        *,
        inline_size: int = INLINE_SIZE,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        self.inline_size = inline_size
        self.chunk_size: Final = blobs.chunk_size
        """Bytes of the smallest chunk that is recommended."""
        self._database = database
        self._blobs = blobs
        self.room: Final = room
        self._upkeep = upkeep

        self._claims: dict[str, Claim] = {}
        self._remembered: LRU[str, Remembered] = LRU(max_remembered)

    @property
    def claimed(self) -> frozenset[str]:
        """Ids of the uploads that this process is writing to."""
        return frozenset(self._claims)

    async def start(self, repository: str, algorithm: str) -> UploadRow:
        """Record a new upload."""
        row = UploadRow(secrets.token_hex(16), algorithm, 0, b"")
        epoch = self._database.epoch()
        # Not synced: after a power cut the client starts again.
        await self._upkeep.take(partial(writes.start_upload, repository, row.id, algorithm, self._now()), durable=False)
        self._remember(repository, row, epoch)
        return row

    async def find(self, repository: str, upload_id: str) -> UploadRow:
        """An upload as it is recorded now. Raises BLOB_UPLOAD_UNKNOWN."""
        return await self._database.read(reads.find_upload(repository, upload_id))

    def take_remembered(self, repository: str, upload_id: str) -> Remembered | None:
        """The row that this process has recorded last, and forget it. Another process may have changed it since."""
        found = self._remembered.pop(upload_id)
        return found if found is not None and found.repository == repository else None

    def is_current(self, remembered: Remembered) -> bool:
        """Whether no other process can have changed a remembered row."""
        return remembered.epoch is not None and remembered.epoch == self._database.epoch()

    def forget(self, upload_id: str) -> None:
        """Forget the row of an upload, because it changes or has ended."""
        self._remembered.pop(upload_id)

    def forget_all(self) -> None:
        """Forget all rows, because something was deleted."""
        self._remembered.clear()

    def size(self, row: UploadRow) -> int:
        """Bytes that an upload has, while nobody writes to it."""
        return self._blobs.upload_size(row.id, row.size) if is_in_file(row) else row.size

    def has_file(self, upload_id: str) -> bool:
        """Whether the upload has a file, recorded or not."""
        return self._blobs.is_begun(upload_id)

    def is_held(self, upload_id: str) -> bool:
        """Whether a process is writing to the file of the upload."""
        return self._blobs.is_held(upload_id)

    def claim(self, upload_id: str) -> Claim:
        """Keep out all other writers of this process. The lock on the file keeps out those of other processes.

        Raises:
            OCIError: RANGE_INVALID if the upload is claimed.
        """
        if upload_id in self._claims:
            raise OCIError("RANGE_INVALID", "another request is writing to this upload")
        self.forget(upload_id)
        claim = self._claims[upload_id] = Claim(upload_id)
        return claim

    def release(self, claim: Claim) -> None:
        """Let others claim the upload. A second call does nothing."""
        if self._claims.get(claim.upload_id) is claim:
            del self._claims[claim.upload_id]

    async def hold(self, repository: str, upload_id: str, *, make: bool) -> tuple[UploadContent, UploadRow] | None:
        """Lock the file of an upload, and only then read how far the upload is.

        Before it has the lock, another process may have committed the upload: then the file belongs to a blob.

        Args:
            repository: the repository that the upload is in.
            upload_id: the id of an upload that this process has claimed.
            make: whether to create a missing file. If not, the result is None when the file is missing.

        Returns:
            The file, with the bytes that were in the row, if there were any; and the row.

        Raises:
            OCIError: RANGE_INVALID while another process writes to it; BLOB_UPLOAD_UNKNOWN if it has ended.
        """
        file = await self._blobs.hold(upload_id, make=make)
        if file is None:
            return None
        try:
            row = (await self.find(repository, upload_id))._replace(holder=file.holder)
        except BaseException as error:
            file.close()
            if make and isinstance(error, OCIError) and error.code == "BLOB_UPLOAD_UNKNOWN":
                # The upload has ended, and `Blobs.hold` may just have created its file again.
                await asyncio.shield(self.discard(upload_id))
            raise
        try:
            content = content_of(row)
            if content is None:
                state = await file.restore(row.size, row.state, row.algorithm)
                if state is not None:
                    row = await self.record(row, file.size, state)
            else:
                await file.restore(0, b"", row.algorithm)
                await file.write(content)
                # The content was acknowledged: it must be in the file before a record replaces it in the row.
                await file.written()
                file.check()
        except BaseException:
            file.close()
            raise
        return file, row

    async def record(self, row: UploadRow, size: int, state: bytes) -> UploadRow:
        """Record how far an upload is.

        Args:
            row: as the caller knows the upload.
            size: bytes that it has now.
            state: of its content (`UploadContent.suspend`).

        Raises:
            OCIError: RANGE_INVALID if another writer has recorded another size since, BLOB_UPLOAD_UNKNOWN if the upload
                has ended.
        """
        await self._upkeep.take(partial(writes.suspend_upload, row, size, state, self._now()), durable=False)
        return row._replace(size=size, state=state)

    async def record_content(self, repository: str, row: UploadRow, content: bytes) -> UploadRow:
        """Record all bytes of an upload in its row. Raises what `record` does."""
        epoch = self._database.epoch()
        recorded = await self.record(row, len(content), IN_ROW + content)
        self._remember(repository, recorded, epoch)
        return recorded

    async def touch(self, upload_id: str) -> None:
        """Record that an upload is being written to, so that collection keeps it. Raises BLOB_UPLOAD_UNKNOWN."""
        await self._database.write(partial(writes.touch_upload, upload_id, self._now()), durable=False)

    async def commit(
        self, repository: str, digest: str, size: int, *, upload: UploadRow | None, stored: Stored
    ) -> Descriptor:
        """Make verified and synced bytes a blob, and end their upload.

        Args:
            repository: the repository that gets the blob.
            digest: the digest of the bytes.
            size: the number of bytes.
            upload: the upload that has brought them, as its writer knows it; None if there was none.
            stored: the bytes, or the key that they are stored under.

        Raises:
            OCIError: RANGE_INVALID if another writer has recorded another size since, BLOB_UPLOAD_UNKNOWN if the upload
                has ended.
        """
        finish = partial(
            writes.finish_blob,
            repository,
            digest,
            size,
            upload=upload,
            stored=stored,
            is_recorded=self._blobs.records is not None,
        )
        try:
            linked = await self._upkeep.take(partial(finish, checked=None, now=self._now()))
        except UncheckedCopyError as found:
            checked = CheckedCopy(found.key, is_whole=await self._blobs.is_whole(found.key, size))
            linked = await self._upkeep.take(partial(finish, checked=checked, now=self._now()))
        if linked.dropped:
            try:
                await self._blobs.delete(linked.dropped)
            except (OSError, OCIError) as error:
                # The blob is pushed. Collection finds the file later.
                _log.warning("a file that is no longer needed could not be deleted; collection will retry: %s", error)
        return linked.descriptor

    async def end(self, upload_id: str) -> None:
        """End an upload without a blob, and delete its file. Nothing happens if it has ended."""
        try:
            has_ended = await self._upkeep.free(partial(writes.end_upload, upload_id), durable=False)
        finally:
            # Only now: until then, another request may have recorded the row, and remembered it.
            self.forget(upload_id)
        # Only the request that ends the row may delete the file: a commit ends the row too, and keeps the file.
        if has_ended:
            if upload_id in self._claims:
                self._claims[upload_id].has_ended = True
            await self._blobs.delete([upload_id])

    async def discard(self, upload_id: str) -> None:
        """Delete the file of an upload that has ended, unless it has become the file of a blob."""
        if not await self._database.read(collecting.known_keys([upload_id])):
            await self._blobs.delete([upload_id])

    def _remember(self, repository: str, row: UploadRow, epoch: int | None) -> None:
        self._remembered.put(row.id, Remembered(repository, row, epoch))

    def _now(self) -> int:
        return int(self._database.now())
