"""The bucket of a store, with the transactions about its objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ociserver._core import Hasher
from ociserver.store.blobs import UnreadableError
from ociserver.store.objects.calls import Calls
from ociserver.store.objects.settings import ObjectSettings
from ociserver.store.transaction import Metadata, Transaction
from ociserver_objects import ObjectError, Reading

__all__ = ["Access"]

Result = TypeVar("Result")


class Access:
    """What the parts of this package share.

    Args:
        database: has the records of objects, and holds of uploads.
        settings: the bucket, and how it is used.
    """

    def __init__(self, database: Metadata, settings: ObjectSettings) -> None:
        self.settings = settings
        self.call = Calls(settings)
        self.bucket = self.call.bucket
        self.database = database
        self.is_closed = False
        """Whether work in the background must end."""
        self._background: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait for what is under way."""
        self.is_closed = True
        while self._background:
            await asyncio.wait(self._background)
        self.call.stop()

    async def write(self, make: Callable[[], Transaction[Result]], *, durable: bool = False) -> Result:
        """`Metadata.write`. Most of these transactions concern only what was not acknowledged yet."""
        return await self.database.write(make, durable=durable)

    def now(self) -> int:
        return int(self.database.now())

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that nobody waits for, until `close`."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def begin_to_read(self, key: str, start: int, stop: int, size: int) -> Reading | None:
        """Begin to read a range; None if the object is missing or has another size."""
        try:
            reading: Reading | None = await self.call(self.bucket.read, key, start, stop)
        except ObjectError:
            reading = None  # it is shorter than `start`
        if reading is None or reading.size == size:
            return reading
        reading.close()
        return None

    async def digest(self, key: str, size: int, algorithm: str) -> str | None:
        """`Blobs.digest`."""
        reading = await self.begin_to_read(key, 0, size, size)
        if reading is None:
            return None
        hasher = Hasher(algorithm)
        try:
            while data := await self.call.next(reading):
                await asyncio.to_thread(hasher.update, data)
        except ObjectError as error:
            raise UnreadableError(str(error)) from error
        finally:
            reading.close()
        return hasher.digest()

    async def read_all(self, key: str, size: int) -> bytes | None:
        """A small object; None if it is missing or has another size."""
        reading = await self.begin_to_read(key, 0, size, size)
        if reading is None:
            return None
        pieces = []
        try:
            while data := await self.call.next(reading):
                pieces.append(data)
        finally:
            reading.close()
        return b"".join(pieces)
