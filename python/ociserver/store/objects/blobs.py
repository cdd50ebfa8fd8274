"""`Blobs` in a bucket."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from http import HTTPStatus
from typing import Final

from ociserver.errors import OCIError
from ociserver.interface import BlobReader, Descriptor, Url
from ociserver.lru import LRU
from ociserver.store.blobs import Found, Recorded, Records, Status
from ociserver.store.errors import SAYS_MORE, StoreError
from ociserver.store.failpoint import reach
from ociserver.store.objects import rows
from ociserver.store.objects.access import Access
from ociserver.store.objects.calls import MARKER
from ociserver.store.objects.hold import Hold, end_later, until
from ociserver.store.objects.reader import ObjectReader
from ociserver.store.objects.settings import MOST_CHUNK_SIZE, ObjectSettings
from ociserver.store.objects.upload import ObjectUpload
from ociserver.store.transaction import Metadata
from ociserver_objects import ObjectError

__all__ = ["BlobObjects"]

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
        settings: the bucket, and how it is used.
    """

    def __init__(self, database: Metadata, settings: ObjectSettings) -> None:
        self._access = Access(database, settings)
        self._settings = settings
        self._bucket = self._access.bucket
        self._call = self._access.call
        self.records: Final[Records] = _Records(self._access)
        # URL, and until when it is given out, by key.
        self._urls: LRU[str, tuple[Url, float]] = LRU(MAX_URLS)

    async def open(self) -> None:
        try:
            if not await self._call.is_right():
                if await self._access.database.read(rows.has_objects()):
                    raise StoreError(
                        f"{self._settings.url} does not have the contents of this registry: check bucket and prefix"
                    )
                await self._call(self._bucket.put, MARKER, _ABOUT)
        except (OCIError, ObjectError) as error:
            reason = error.__cause__ or error
            raise StoreError(f"the bucket {self._settings.url} cannot be used: {reason}; {SAYS_MORE}") from error
        finally:
            self._call.stop()

    async def close(self) -> None:
        await self._access.close()

    @property
    def unavailable(self) -> str | None:
        return self._call.unavailable

    # Contents that the metadata names

    async def read(self, key: str, descriptor: Descriptor, start: int, stop: int) -> BlobReader | None:
        self._call.check()
        reading = await self._access.begin_to_read(key, start, stop, descriptor.size)
        if reading is not None:
            return ObjectReader(self._bucket, self._call, key, descriptor, reading, (start, stop))
        # So that a HEAD no longer says that it is there, and a client pushes it again. Not if the whole bucket is gone.
        if await self._call.is_right():
            await self._access.write(partial(rows.mark_bad, key))
        return None

    async def locate(self, key: str, descriptor: Descriptor) -> Url | None:
        if not self._settings.redirect or descriptor.size < self._settings.least_redirected:
            return None
        known, now = self._urls.get(key), time.monotonic()
        if known is not None and known[1] > now:
            return known[0]
        query = {"response-content-type": "application/octet-stream"}
        lifetime = self._settings.url_lifetime_s
        url = Url(await self._call(self._bucket.sign, key, lifetime, query))
        self._urls.put(key, (url, now + lifetime * URL_SHARE))
        return url

    async def size(self, key: str) -> int | None:
        size: int | None = await self._call(self._bucket.size, key)
        return size

    def seems_whole(self, key: str, size: int) -> bool:
        return True

    async def is_whole(self, key: str, size: int) -> bool:
        return await self.size(key) == size

    async def digest(self, key: str, size: int, algorithm: str) -> str | None:
        return await self._access.digest(key, size, algorithm)

    # Uploads

    @property
    def chunk_size(self) -> int:
        return min(self._settings.part_size, MOST_CHUNK_SIZE)

    def upload_size(self, upload_id: str, recorded: int) -> int:
        return recorded

    def is_begun(self, upload_id: str) -> bool:
        return False

    async def hold(self, key: str, *, make: bool) -> ObjectUpload | None:
        holder, now = secrets.token_hex(16), self._access.now()
        try:
            is_held = await self._access.write(partial(rows.hold, key, holder, now, until(now), make=make))
        except OCIError as error:
            if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
                # The connection may have broken after the transaction, so that nobody knows that it is held.
                self._access.in_background(end_later(self._access, key, holder))
            raise
        if not is_held:
            return None
        return ObjectUpload(self._access, key, Hold(self._access, key, holder))

    def is_held(self, key: str) -> bool:
        # The transaction that records an upload compares what it was before.
        return False

    def closed_to_writers(self, key: str) -> AbstractContextManager[Status | None]:
        # The transaction that ends the upload is enough: a writer cannot record anything afterwards.
        return contextlib.nullcontext()

    # What nothing needs

    async def delete(self, keys: Collection[str]) -> None:
        """`Blobs.delete`: they are recorded."""

    async def scan(self, page_size: int) -> AsyncIterator[list[Found]]:
        after = ""
        while page := await self._call(self._bucket.list, after, page_size):
            after = page[-1][0]
            if found := [Found(0, key, size) for key, size in page if key != MARKER]:
                yield found

    @property
    def scan_steps(self) -> int:
        return 1


class _Records:
    """`Records` of a bucket."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._bucket = access.bucket
        self._call = access.call
        self.delete_after_s = access.settings.delete_after_s

    async def page(self, before: int, after: str, limit: int) -> list[Recorded]:
        rows_read = await self._access.database.read(rows.unneeded_objects(before, after, limit))
        return [Recorded(*row) for row in rows_read]

    async def delete(self, objects: Sequence[Recorded]) -> None:
        # Nothing makes an object with one of these keys any more, so two nodes may do this at the same time.
        for one in objects:
            if one.multipart is not None:
                await self._call(self._bucket.abort, one.key, one.multipart)
        keys = [one.key for one in objects]
        await self._call(self._bucket.delete, keys)
        reach("objects deleted")
        await self._access.write(partial(rows.forget_objects, keys))
