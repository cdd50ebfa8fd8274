"""`Blobs` in a bucket."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, TypeVar

from ociserver._core import Hasher
from ociserver.errors import OCIError
from ociserver.interface import BlobReader, Descriptor, Url
from ociserver.lru import LRU
from ociserver.store.blobs import Found, Recorded, Records, Status, UnreadableError
from ociserver.store.errors import StoreError
from ociserver.store.objects import rows
from ociserver.store.objects.calls import MARKER, Calls
from ociserver.store.objects.hold import Hold, until
from ociserver.store.objects.reader import ObjectReader
from ociserver.store.objects.storage import ObjectStorage
from ociserver.store.objects.upload import ObjectUpload
from ociserver.store.transaction import Metadata, Transaction
from ociserver_objects import Bucket, ObjectError, Reading

__all__ = ["BlobObjects"]

Result = TypeVar("Result")

_ABOUT: Final = (
    b"This bucket, or its part below this prefix, belongs to a registry of ociserver. Its database knows the rest.\n"
)

MAX_URLS: Final = 1_000
"""Signed URLs that are remembered, some 0.5 KiB each."""

URL_SHARE: Final = 0.25
"""The part of its lifetime for which a signed URL is given out again, so that caches in front of the bucket can hit."""


class BlobObjects:
    """A content is an object with a random key below the prefix of the bucket.

    Args:
        database: has the records of objects, and holds of uploads.
        storage: the bucket, and how it is used.
    """

    def __init__(self, database: Metadata, storage: ObjectStorage) -> None:
        self.storage = storage
        self.bucket = Bucket(
            storage.url, storage.options, public_endpoint=storage.public_endpoint, retry_s=storage.retry_s
        )
        self.call = Calls(self.bucket)
        self._database = database
        self._background: set[asyncio.Task[None]] = set()
        # URL, and until when it is given out, by key.
        self._urls: LRU[str, tuple[Url, float]] = LRU(MAX_URLS)

    async def open(self) -> None:
        try:
            if not await self.call.is_right():
                if await self._database.read(rows.has_objects()):
                    raise StoreError(
                        f"{self.storage.url} does not have the contents of this registry: check bucket and prefix"
                    )
                await self.call(self.bucket.put, MARKER, _ABOUT)
        except (OCIError, ObjectError) as error:
            reason = error.__cause__ or error
            raise StoreError(f"the bucket {self.storage.url} cannot be used: {reason}") from error
        finally:
            self.call.stop()

    async def close(self) -> None:
        self.call.stop()
        while self._background:
            await asyncio.wait(self._background)

    @property
    def unavailable(self) -> str | None:
        return self.call.unavailable

    # Contents that the metadata names

    async def read(self, key: str, descriptor: Descriptor, start: int, stop: int) -> BlobReader | None:
        reading = await self._begin_to_read(key, start, stop, descriptor.size)
        if reading is not None:
            return ObjectReader(self.bucket, self.call, key, descriptor, reading, (start, stop))
        # So that a HEAD no longer says that it is there, and a client pushes it again. Not if the whole bucket is gone.
        if await self.call.is_right():
            await self.write(partial(rows.mark_bad, key))
        return None

    async def _begin_to_read(self, key: str, start: int, stop: int, size: int) -> Reading | None:
        """None if the object is missing or has another size."""
        try:
            reading: Reading | None = await self.call(self.bucket.read, key, start, stop)
        except ObjectError:
            reading = None  # it is shorter than `start`
        if reading is None or reading.size == size:
            return reading
        reading.close()
        return None

    async def locate(self, key: str, descriptor: Descriptor) -> Url | None:
        if not self.storage.redirect or descriptor.size < self.storage.least_redirected:
            return None
        known, now = self._urls.get(key), time.monotonic()
        if known is not None and known[1] > now:
            return known[0]
        query = {"response-content-type": "application/octet-stream"}
        lifetime = self.storage.url_lifetime_s
        url = Url(await self.call(self.bucket.sign, key, lifetime, query))
        self._urls.put(key, (url, now + lifetime * URL_SHARE))
        return url

    async def size(self, key: str) -> int | None:
        size: int | None = await self.call(self.bucket.size, key)
        return size

    def seems_whole(self, key: str, size: int) -> bool:
        return True

    async def is_whole(self, key: str, size: int) -> bool:
        return await self.size(key) == size

    async def digest(self, key: str, size: int, algorithm: str) -> str | None:
        reading = await self._begin_to_read(key, 0, size, size)
        if reading is None:
            return None
        hasher = Hasher(algorithm)
        try:
            while data := await self.call(reading.next):
                await asyncio.to_thread(hasher.update, data)
        except ObjectError as error:
            raise UnreadableError(str(error)) from error
        finally:
            reading.close()
        return hasher.digest()

    async def read_all(self, key: str, size: int) -> bytes | None:
        """A small object; None if it is missing or has another size."""
        reading = await self._begin_to_read(key, 0, size, size)
        if reading is None:
            return None
        pieces = []
        try:
            while data := await self.call(reading.next):
                pieces.append(data)
        finally:
            reading.close()
        return b"".join(pieces)

    # Uploads

    def upload_size(self, upload_id: str, recorded: int) -> int:
        return recorded

    def is_begun(self, upload_id: str) -> bool:
        return False

    async def hold(self, key: str, *, make: bool) -> ObjectUpload | None:
        holder, now = secrets.token_hex(16), self.now()
        if not await self.write(partial(rows.hold, key, holder, now, until(now), make=make)):
            return None
        return ObjectUpload(self, key, Hold(self, key, holder))

    def is_held(self, key: str) -> bool:
        # The transaction that records an upload compares what it was before.
        return False

    def closed_to_writers(self, key: str) -> AbstractContextManager[Status | None]:
        # The transaction that ends the upload is enough: a writer cannot record anything afterwards.
        return contextlib.nullcontext()

    # What nothing needs

    @property
    def records(self) -> Records:
        return _Records(self)

    async def delete(self, keys: Collection[str]) -> None:
        """`Blobs.delete`: they are recorded."""

    async def scan(self, page_size: int) -> AsyncIterator[list[Found]]:
        after = ""
        while page := await self.call(self.bucket.list, after, page_size):
            after = page[-1][0]
            if found := [Found(0, key, size) for key, size in page if key != MARKER]:
                yield found

    @property
    def scan_steps(self) -> int:
        return 1

    # For the parts of this package

    async def write(self, make: Callable[[], Transaction[Result]], *, durable: bool = False) -> Result:
        """`Metadata.write`. Most of these transactions concern only what was not acknowledged yet."""
        return await self._database.write(make, durable=durable)

    def now(self) -> int:
        return int(self._database.now())

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that nobody waits for, until `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class _Records:
    """`Records` of a bucket."""

    def __init__(self, blobs: BlobObjects) -> None:
        self._bucket = blobs.bucket
        self._call = blobs.call
        self.delete_after_s = blobs.storage.delete_after_s

    async def delete(self, objects: Sequence[Recorded]) -> None:
        for one in objects:
            if one.multipart is not None:
                await self._call(self._bucket.abort, one.key, one.multipart)
        await self._call(self._bucket.delete, [one.key for one in objects])
