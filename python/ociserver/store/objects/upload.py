"""The content of an upload in a bucket, while one request writes to it.

Theory of operation
===================
The caller's thread hashes the bytes and copies them into a part (`PartWriter`). When the first part is full, the event
loop begins a multipart upload; full parts go to the bucket while the next one fills. At the end of the request, what is
left over is stored as an object of its own, the tail, so that any process can continue. If there is a multipart upload,
the tail also becomes its last part: if the next request only ends the upload, nothing has to be read back.

A client that sends chunks of another size than that of a part would leave a tail with each. So if the first request
fills no part, its size decides that of the parts (`_part_size_after`).

So the content ends up in one of two ways:

- All bytes are in the tail, because no part was full. Then the tail is the blob.
- The multipart upload is completed, and makes the object of the blob.

What is recorded, and when
==========================
Each object has a random key that was never used, and is recorded before it is made. Two requests never make an object
with the same key: so a request that was believed dead, and goes on, cannot change what another one has stored. A part
that it sends for the same multipart upload has another ETag than the recorded one, and the completion then fails.

The request holds the upload by a row, which it renews (`Hold`). If the process dies, the hold ends by itself.

An error of the bucket takes back what this request has brought: the content then ends where it was recorded.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ociserver._core import Hasher
from ociserver.backlog import call_threadsafe, wait_until_called
from ociserver.errors import OCIError
from ociserver.store.failpoint import reach
from ociserver.store.objects import rows
from ociserver.store.objects.access import Access
from ociserver.store.objects.hold import Hold
from ociserver.store.objects.settings import LEAST_PART_SIZE
from ociserver.store.objects.state import ObjectState
from ociserver_objects import MAX_PARTS, ObjectError, PartWriter

__all__ = ["ObjectUpload"]


class ObjectUpload:
    """An `UploadContent` whose bytes are objects.

    Args:
        access: the bucket and the database.
        upload_id: the upload.
        hold: the hold of this request.
    """

    can_finish_again = True

    def __init__(self, access: Access, upload_id: str, hold: Hold) -> None:
        self._access = access
        self._bucket = access.bucket
        self._upload_id = upload_id
        self._algorithm = ""
        self._hold = hold
        self._loop = asyncio.get_running_loop()
        # What was recorded before this request; None if nothing was.
        self._recorded: ObjectState | None = None
        self._recorded_size = 0
        # What all bytes are stored as; None while there are others.
        self._stored: ObjectState | None = None
        self._part_size = access.settings.part_size
        # Exists from the first piece of this request.
        self._parts: PartWriter | None = None
        # The multipart upload, once there is one: its object, and its id.
        self._multipart: tuple[str, str] | None = None
        # Why there is none.
        self._failure: Exception | None = None
        self.size = 0

    @property
    def holder(self) -> str:
        return self._hold.holder

    @property
    def key(self) -> str:
        state = self._stored
        key = None if state is None else state.key or state.tail
        if key is None:
            raise RuntimeError("the content is not stored yet")
        return key

    async def restore(self, size: int, state: bytes, algorithm: str) -> None:
        """`UploadContent.restore`: all that was recorded is there."""
        self._algorithm = algorithm
        self._recorded_size = self.size = size
        if not size:
            return
        self._access.call.check()
        try:
            self._recorded = self._stored = ObjectState.load(state)
        except ValueError:
            raise OCIError("BLOB_UPLOAD_UNKNOWN", "the upload was begun without this bucket: start again") from None
        self._part_size = self._recorded.part_size

    # Writing

    async def open_sink(self) -> ObjectUpload:
        await self._open()
        return self

    async def write(self, data: bytes) -> None:
        await self._open()
        left = self.add(data)
        if left is not None and left > self.high_water_mark:
            await wait_until_called(partial(self.when_left, self.high_water_mark))
        elif left is None:
            await self.written()
        self.check()

    @property
    def high_water_mark(self) -> int:
        """`Sink.high_water_mark`: the caller waits while a full part waits for its turn."""
        return 0

    def add(self, data: bytes) -> int | None:
        """`Sink.add`."""
        parts = self._parts
        left = None if parts is None else parts.add(data)
        if left is not None:
            self.size += len(data)
            self._stored = None
        return left

    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """`Sink.when_left`."""
        parts = self._parts
        if parts is None:
            callback()
        else:
            parts.when_left(backlog, callback)

    def when_kept(self, callback: Callable[[], object]) -> None:
        """`Sink.when_kept`: when all full parts are stored. `suspend` and `seal` store the rest."""
        parts = self._parts
        if parts is None:
            callback()
        else:
            parts.when_kept(callback)

    async def written(self) -> None:
        await wait_until_called(self.when_kept)

    def check(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            self._take_back()
            raise failure
        if self._parts is None:
            return
        # The last part, which may be shorter, has a number too.
        too_many = MAX_PARTS * self._part_size
        if self._parts.length >= too_many:
            self._take_back()
            message = f"this upload must have less than {too_many} bytes: send larger chunks, or all bytes in one"
            raise OCIError("SIZE_INVALID", message, status=413)
        try:
            self._parts.check()
        except ObjectError as error:
            self._take_back()
            raise self._access.call.known(error) or self._lost() from None

    def is_deleted(self) -> bool:
        return self._hold.is_lost

    async def _open(self) -> None:
        """Get ready for pieces: read back what was left over from full parts."""
        if self._parts is not None:
            return
        self._access.call.check()
        state = self._recorded
        begin = partial(call_threadsafe, self._loop, self._begin_multipart)
        size, in_flight = self._part_size, self._access.settings.parts_in_flight
        if state is None:
            self._parts = PartWriter(self._bucket, self._algorithm, part_size=size, in_flight=in_flight, on_full=begin)
            return
        if state.tail_size and state.tail is None:
            raise OCIError("BLOB_UPLOAD_INVALID", "all bytes of this upload have come: it can only be ended")
        tail = b"" if state.tail is None else await self._access.read_all(state.tail, state.tail_size)
        if tail is None:
            raise self._lost()
        if state.key is not None and state.multipart is not None:
            self._multipart = state.key, state.multipart
        self._parts = PartWriter.resume(
            self._bucket,
            state.hash,
            key=state.key,
            multipart_id=state.multipart,
            etags=list(state.etags),
            tail=tail,
            part_size=size,
            in_flight=in_flight,
            on_full=begin,
        )

    def _begin_multipart(self) -> None:
        if self._parts is not None:
            self._access.in_background(self._make_multipart(self._parts))

    async def _make_multipart(self, parts: PartWriter) -> None:
        """Begin the multipart upload. Its parts wait until it is recorded."""
        try:
            key = await self._record_object()
            multipart_id: str = await self._access.call(self._bucket.create_multipart, key)
            reach("multipart created")
            await self._access.write(partial(rows.begin_multipart, key, multipart_id), durable=True)
            reach("multipart recorded")
        except Exception as error:
            if parts is self._parts:
                self._failure = error
            parts.close()
            return
        if parts is self._parts:
            self._multipart = key, multipart_id
            parts.begin(key, multipart_id)

    async def _record_object(self) -> str:
        """A new key, recorded for an object that is about to be made."""
        key = secrets.token_hex(16)
        await self._access.write(partial(rows.record_object, self._upload_id, key, self._access.now()), durable=True)
        reach("object recorded")
        return key

    # The end of a request

    async def suspend(self) -> bytes | None:
        await self.written()
        if self.size == self._recorded_size:
            await self._hold.end()
            return None
        return (await self._store_all(is_last=False)).dump()

    async def recorded(self) -> None:
        state = self._stored
        if state is not None and self._hold.stop():
            now = self._access.now()
            try:
                await self._access.write(partial(rows.keep_only, self._upload_id, self.holder, state.objects, now))
            except OCIError:
                self._hold.end_later()
                raise

    async def seal(self) -> bytes | None:
        await self.written()
        self.check()
        was_stored = self._stored is not None
        state = await self._store_all(is_last=True)
        # Once the multipart upload of the recorded state is completed, its parts are no longer there.
        has_recorded_parts = self._recorded is not None and self._recorded.multipart is not None
        return state.dump() if has_recorded_parts and not was_stored else None

    async def finish(self) -> None:
        state = self._stored
        if state is None or state.key is None or state.multipart is None:
            return
        try:
            await self._access.call(self._bucket.complete, state.key, state.multipart, state.all_etags)
        except ObjectError:
            # An earlier try may have completed it.
            if await self._access.call(self._bucket.size, state.key) != self.size:
                raise self._lost() from None
        reach("object completed")

    async def digest(self, algorithm: str) -> str:
        await self.written()
        self.check()
        if algorithm != self._algorithm:
            return await self._digest_of_object(algorithm)
        if self._parts is not None:
            return self._parts.digest()
        return Hasher(algorithm).digest() if self._recorded is None else Hasher.resume(self._recorded.hash).digest()

    async def _digest_of_object(self, algorithm: str) -> str:
        """The digest by another algorithm than that of the upload: the object has to be finished and read."""
        await self._store_all(is_last=True)
        await self.finish()
        found = await self._access.digest(self.key, self.size, algorithm)
        if found is None:
            raise self._lost()
        return found

    def ended(self) -> None:
        self._hold.stop()

    async def put_back(self) -> None:
        # Before the answer, so that the next request of the client can hold the upload.
        await self._hold.end()

    async def cut(self, size: int) -> None:
        await self.written()
        self._take_back()

    def close(self) -> None:
        # It has a part of the content, and a reference to this, which no garbage collection would find.
        parts, self._parts = self._parts, None
        if parts is not None:
            parts.close()
        self._access.in_background(self._hold.end())

    async def _store_all(self, *, is_last: bool) -> ObjectState:
        """Store the bytes that are in no full part.

        Args:
            is_last: whether no other request will add bytes. Then the last part of a multipart upload is enough.

        Raises:
            OCIError: an error of the bucket; RANGE_INVALID. The bytes of this request are taken back.
        """
        if self._stored is None:
            parts = self._parts
            if parts is None:
                raise RuntimeError("an upload without bytes has nothing to store")
            try:
                # A part of this request must not replace one of another request, in the same multipart upload.
                await self._hold.check()
                self._stored = await self._store(parts, is_last=is_last)
            except OCIError:
                self._take_back()
                raise
        return self._stored

    async def _store(self, parts: PartWriter, *, is_last: bool) -> ObjectState:
        etags = tuple(parts.etags)
        tail_size = parts.length - len(etags) * self._part_size
        state = ObjectState(parts.save(), self._part_size, tail_size, etags=etags)
        if self._multipart is None:
            if self._recorded is None:
                state = replace(state, part_size=self._part_size_after(tail_size))
            return replace(state, tail=await self._put_tail(parts))
        key, multipart_id = self._multipart
        state = replace(state, key=key, multipart=multipart_id)
        if not state.tail_size:
            return state
        if is_last:
            return replace(state, tail_etag=await self._put_last_part(parts))
        tail, etag = await asyncio.gather(self._put_tail(parts), self._put_last_part(parts))
        return replace(state, tail=tail, tail_etag=etag)

    def _part_size_after(self, size: int) -> int:
        """The size of parts that requests with `size` bytes fill exactly.

        It is at least half of the usual size, because the number of parts bounds the blob.
        """
        least = max(LEAST_PART_SIZE, self._part_size // 2)
        return min(math.ceil(least / size) * size, self._part_size)

    async def _put_tail(self, parts: PartWriter) -> str:
        key = await self._record_object()
        await self._access.call(parts.put_tail, key)
        reach("tail stored")
        return key

    async def _put_last_part(self, parts: PartWriter) -> str:
        try:
            etag: str = await self._access.call(parts.flush_tail)
        except ObjectError:
            raise self._lost() from None
        return etag

    def _take_back(self) -> None:
        """Forget the bytes of this request."""
        parts, self._parts, self._multipart = self._parts, None, None
        if parts is not None:
            parts.close()
        self.size, self._stored = self._recorded_size, self._recorded

    def _lost(self) -> OCIError:
        return OCIError("BLOB_UPLOAD_UNKNOWN", "the bytes of this upload are gone from the bucket: start again")
