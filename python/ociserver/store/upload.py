"""One upload, while one request uses it. Read the theory of operation in `upload_state` first."""

from __future__ import annotations

import contextlib
import time
from typing import Final

from ociserver._core import digest_of
from ociserver.digests import check_digest
from ociserver.errors import OCIError
from ociserver.interface import Descriptor, Sink
from ociserver.store.blobs import UploadContent
from ociserver.store.errors import is_full
from ociserver.store.reads import UploadRow
from ociserver.store.upload_state import TRANSITIONS, UNCLAIMED, Event, State
from ociserver.store.uploads import INLINE_SIZE, Claim, Uploads, content_of, is_in_file
from ociserver.store.writes import Stored

__all__ = ["INLINE_SIZE", "Upload"]

TOUCH_AFTER_S: Final = 60
"""Seconds after which a long request records again that it is writing, so that collection keeps the upload."""


class Upload:
    """A `BlobWriter` of the store.

    Args:
        uploads: the uploads of the store.
        repository: the repository that the upload is in.
        row: how far the upload is.
        offset: where the first bytes have to begin; None: at the end of the upload, wherever that is.
        state: OPENED or REMEMBERED.
        locked: the claim and the locked file, if the caller has already made this the only writer.
    """

    def __init__(
        self,
        uploads: Uploads,
        repository: str,
        row: UploadRow,
        offset: int | None = None,
        state: State = State.OPENED,
        locked: tuple[Claim, UploadContent] | None = None,
    ) -> None:
        self._uploads = uploads
        self._repository = repository
        self._row = row
        # None once the offset of the first bytes was checked.
        self._offset = offset
        self._state = state
        # Whether another process may have created a file, for which nobody has looked yet.
        self._file_unchecked = state is State.REMEMBERED
        self._claim: Claim | None = None
        # All bytes of the upload, while there is no file.
        self._buffer = content_of(row) or b""
        self._file: UploadContent | None = None
        # Size of the file before this request.
        self._acknowledged = 0
        self._touched = time.monotonic()
        if locked is not None:
            claim, file = locked
            self._take(claim, (file, row))

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def chunk_size(self) -> int:
        return self._uploads.chunk_size

    @property
    def size(self) -> int:
        if self._file is not None:
            return self._file.size
        return self._uploads.size(self._row) if is_in_file(self._row) else len(self._buffer)

    @property
    def state(self) -> State:
        """The state; see `upload_state`."""
        return self._state

    async def write(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._uploads.room.check()
            await self._ensure_claimed()
            await self._begin()
            await self._touch()
            if self._file is None and len(self._buffer) + len(data) <= self._uploads.inline_size:
                self._buffer += data
                return
            file = self._file or await self._move_to_file()
            await file.write(data)
        except OCIError as error:
            self._note(error)
            raise

    async def written(self) -> int:
        """Wait until all bytes are in the file or in memory, and return their number. Raises the error of a piece."""
        if self._file is not None:
            try:
                await self._file.written()
                self._file.check()
            except OCIError as error:
                self._note(error)
                raise
        return self.size

    async def open_sink(self) -> Sink | None:
        """The file, for bytes that are about to come; None if there is no file yet: `write` creates it."""
        if self._state is State.ENDED:
            return None
        try:
            # The handler calls this at least once a second while the bytes of a long body come.
            self._uploads.room.check()
            if self._state in UNCLAIMED and not self._has_file():
                # This request keeps out no other one before its first bytes come.
                return None
            await self._ensure_claimed()
            if self._file is None:
                return None
            await self._begin()
            return await self._file.open_sink()
        except OCIError as error:
            self._note(error)
            raise

    async def commit(self, digest: str) -> Descriptor:
        check_digest(digest)
        try:
            self._uploads.room.check()
            await self._ensure_claimed()
            found = await self._digest(digest)
            if found != digest:
                raise OCIError("DIGEST_INVALID", detail={"digest": digest, "content": found})
            if self._file is not None:
                await self._finish_file(self._file)
            stored = Stored(content=self._buffer) if self._file is None else Stored(key=self._file.key)
            self._change(Event.COMMIT)
            committed = await self._uploads.commit(self._repository, digest, self.size, upload=self._row, stored=stored)
        except OCIError as error:
            self._note(error)
            raise
        self._upload_ended()
        self._end()
        return committed

    async def cancel(self) -> None:
        state = self._state
        if state is State.ENDED:
            return
        self._change(Event.END)
        try:
            if state is State.FULL:
                # First, so that there is space to record that the upload has ended.
                await self._cut(0)
            await self._uploads.end(self.id)
            self._upload_ended()
        except Exception:
            # Not even that can be recorded. At least the bytes are deleted, unless they may have become a blob.
            if state is not State.COMMITTING:
                await self._cut(0)
            raise
        finally:
            self._end()

    async def aclose(self) -> None:
        if self._state in (State.OPENED, State.ENDED):
            # There is nothing to record.
            self._end()
            return
        try:
            failure = await self._failure()
            state = self._state
            self._change(Event.END)
            if state is State.FULL:
                await self._cut(self._acknowledged)
            try:
                await self._suspend(state)
            except OCIError as error:
                if is_full(error) and state is not State.COMMITTING:
                    await self._cut(self._acknowledged)
                raise
            if failure is not None:
                raise failure
        finally:
            self._end()

    def _change(self, event: Event) -> None:
        try:
            self._state = TRANSITIONS[self._state][event]
        except KeyError:
            raise RuntimeError(f"an upload in the state {self._state.name} cannot {event.name}") from None

    # Before anything is written

    async def _ensure_claimed(self) -> None:
        """Become the only writer of the upload. Raises BLOB_UPLOAD_UNKNOWN if it has ended."""
        if self._state is State.ENDED:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if self._state is State.OVERTAKEN:
            raise OCIError("RANGE_INVALID", "another request has written to this upload meanwhile")
        if self._state not in UNCLAIMED:
            self._check_existence()
            return
        claim = self._uploads.claim(self.id)
        try:
            held = None
            # If the row does not say that there is a file, another process is writing to it, or was killed.
            if self._has_file():
                held = await self._uploads.hold(self._repository, self.id, make=True)
        except BaseException as error:
            self._uploads.release(claim)
            if isinstance(error, OCIError) and error.code == "BLOB_UPLOAD_UNKNOWN":
                self._end()
            raise
        self._take(claim, held)

    def _has_file(self) -> bool:
        """Whether a file must be locked before anything is written."""
        return is_in_file(self._row) or (not self._file_unchecked and self._uploads.has_file(self.id))

    def _take(self, claim: Claim, held: tuple[UploadContent, UploadRow] | None) -> None:
        self._change(Event.CLAIM)
        self._claim = claim
        if held is not None:
            self._use_file(*held)

    def _use_file(self, file: UploadContent, row: UploadRow) -> None:
        self._file, self._row, self._buffer = file, row, b""
        self._acknowledged = file.size if is_in_file(row) else 0

    async def _look_again(self) -> None:
        """Read the row again, because the bytes do not fit to it: another process may have written to the upload.

        Raises:
            OCIError: RANGE_INVALID if both another process and this request have; BLOB_UPLOAD_UNKNOWN.
        """
        try:
            row = await self._uploads.find(self._repository, self.id)
        except OCIError as error:
            if error.code == "BLOB_UPLOAD_UNKNOWN":
                self._change(Event.END)
            raise
        if row.size == self._row.size:
            return
        if self._state is not State.CLAIMED:
            self._change(Event.OVERTAKE)
            raise OCIError("RANGE_INVALID", "another request has written to this upload meanwhile")
        self._row, self._buffer = row, content_of(row) or b""
        if is_in_file(row):
            held = await self._uploads.hold(self._repository, self.id, make=True)
            assert held is not None
            self._use_file(*held)

    def _check_existence(self) -> None:
        """Check that no other request has ended the upload. Raises BLOB_UPLOAD_UNKNOWN."""
        has_ended = self._claim is not None and self._claim.has_ended
        if has_ended or (self._file is not None and self._file.is_deleted()):
            self._change(Event.END)
            raise OCIError("BLOB_UPLOAD_UNKNOWN")

    async def _begin(self) -> None:
        """Check that the first bytes begin where the upload ends. Raises RANGE_INVALID."""
        if self._offset not in (self.size, None) and self._file is None:
            await self._look_again()
        if self._offset not in (self.size, None):
            cause = OCIError("RANGE_INVALID")
            raise OCIError(
                "RANGE_INVALID", f"invalid offset {self._offset} in resumed upload (actual offset {self.size})"
            ) from cause
        self._offset = None
        self._change(Event.WRITE)

    async def _touch(self) -> None:
        now = time.monotonic()
        if now - self._touched >= TOUCH_AFTER_S:
            self._touched = now
            await self._uploads.touch(self.id)

    async def _move_to_file(self) -> UploadContent:
        """Create the file, and write to it what is in memory."""
        try:
            held = await self._uploads.hold(self._repository, self.id, make=True)
            assert held is not None
            file, row = held
            if row.size != self._row.size:
                file.close()
                raise OCIError("RANGE_INVALID", "another request has written to this upload meanwhile")
        except OCIError as error:
            if error.code == "RANGE_INVALID":
                # The bytes of this request, in memory, must not replace those that the other request has written.
                self._change(Event.OVERTAKE)
            elif error.code == "BLOB_UPLOAD_UNKNOWN":
                self._change(Event.END)
            raise
        # The file begins with the bytes of the row. `_row` stays as it is: the next record compares its size.
        more, self._buffer, self._file = self._buffer[row.size :], b"", file
        if more:
            await file.write(more)
        return file

    # Ending

    async def _digest(self, expected: str) -> str:
        """The digest of all bytes, with the algorithm of the expected digest."""
        algorithm = expected.partition(":")[0]
        if self._file is None:
            found = digest_of(self._buffer, algorithm)
            if found == expected:
                return found
            await self._look_again()
        return digest_of(self._buffer, algorithm) if self._file is None else await self._file.digest(algorithm)

    async def _finish_file(self, file: UploadContent) -> None:
        state = await file.seal()
        if state is not None:
            self._row = await self._uploads.record(self._row, file.size, state)
        try:
            await file.finish()
        except Exception:
            if file.can_finish_again:
                raise
            # After a failed sync, the contents of the disk are unknown, and the next sync would not report that.
            with contextlib.suppress(Exception):
                await self.cancel()
            raise

    async def _suspend(self, state: State) -> None:
        """Record how far the upload is, unless the length of its file says so."""
        file = self._file
        if state is State.REMEMBERED:
            # There is nothing to record. A record would fail if the upload had ended, so the row is read instead.
            self._row = await self._uploads.find(self._repository, self.id)
        if not self._is_to_record(state):
            if file is not None:
                await file.put_back()
            return
        try:
            if file is None:
                if self._file_unchecked and self._uploads.is_held(self.id):
                    raise OCIError("RANGE_INVALID", "another request is writing to this upload")
                self._row = await self._uploads.record_content(self._repository, self._row, self._buffer)
                return
            is_nothing = not file.size and not is_in_file(self._row)
            recordable = None if is_nothing else await file.suspend()
            if recordable is not None:
                self._row = await self._uploads.record(self._row, file.size, recordable)
                await file.recorded()
            elif file.is_deleted():
                raise OCIError("BLOB_UPLOAD_UNKNOWN")
        except OCIError as error:
            if error.code != "BLOB_UPLOAD_UNKNOWN":
                raise
            await self._uploads.discard(self.id)
            # A cancelled commit may have succeeded. Then there is nothing to suspend.
            if state is not State.COMMITTING:
                raise

    def _is_to_record(self, state: State) -> bool:
        if state is State.COMMITTING:
            # The retry sends the bytes in memory again. The bytes in the file count already.
            return self._file is not None
        return state in (State.WRITTEN, State.FULL)

    async def _failure(self) -> Exception | None:
        """Wait until all pieces are in the file or lost, and return the error of a piece."""
        if self._file is None:
            return None
        await self._file.written()
        try:
            self._file.check()
        except Exception as error:
            if is_full(error):
                self._change(Event.FILL)
            return error
        return None

    async def _cut(self, size: int) -> None:
        """Truncate the file to this size, which frees space."""
        if self._file is not None:
            # If this fails, the bytes count, as after a cancelled request.
            with contextlib.suppress(OSError, OCIError):
                await self._file.cut(size)

    def _upload_ended(self) -> None:
        if self._file is not None:
            self._file.ended()

    def _note(self, error: OCIError) -> None:
        """Note whether a step has failed because the disk is full."""
        # A failed commit of bytes in memory has used no space that could be returned.
        if is_full(error) and not (self._state is State.COMMITTING and self._file is None):
            self._change(Event.FILL)

    def _end(self) -> None:
        """Release the upload, so that other requests can write to it."""
        self._change(Event.END)
        if self._claim is not None:
            self._uploads.release(self._claim)
        if self._file is not None:
            self._file.close()
