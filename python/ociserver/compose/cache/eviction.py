"""Keeping the size of what is cached below a bound: what has not been used for the longest time goes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from ociserver.compose.cache.index import Entry, Index
from ociserver.errors import OCIError
from ociserver.interface import Backend

__all__ = ["Eviction"]

USE_AFTER_S: Final = 10.0
"""How often the use of a content is noted, so that a read is not a write each time."""

_REMEMBERED: Final = 10_000


class Eviction:
    """Counts, and deletes from the local registry. The bytes follow as that registry frees them.

    Args:
        local: the registry that keeps the contents.
        index: what is kept.
        max_bytes: the bound; None for none.
    """

    def __init__(self, local: Backend, index: Index, max_bytes: int | None) -> None:
        self._local = local
        self._index = index
        self._max = max_bytes
        self._used: OrderedDict[Entry, float] = OrderedDict()
        self._one = asyncio.Lock()

    def fits(self, size: int) -> bool:
        """Whether a content of this size can be kept at all."""
        return self._max is None or size <= self._max

    @asynccontextmanager
    async def keep(self, entry: Entry, size: int) -> AsyncIterator[None]:
        """Around what makes a content one of the local registry's: makes room before it, and counts it."""
        await self._make_room(size)
        self._index.use(entry, size, time.time())
        try:
            yield
        except BaseException:
            self._index.forget(entry)
            raise
        # Others that came at the same time may have taken the room, and found nothing here to delete.
        self._index.use(entry, size, time.time())
        await self._make_room(0)

    def use(self, entry: Entry, size: int) -> None:
        """Note that a content was used."""
        if self.was_just_used(entry):
            return
        now = self._used[entry] = time.time()
        if len(self._used) > _REMEMBERED:
            self._used.popitem(last=False)
        self._index.use(entry, size, now)

    def was_just_used(self, entry: Entry) -> bool:
        """Whether the use of a content need not be noted. From any thread."""
        return time.time() - self._used.get(entry, 0.0) < USE_AFTER_S

    async def _make_room(self, size: int) -> None:
        async with self._one:
            while self._max is not None and self._index.total() + size > self._max:
                oldest = self._index.oldest()
                if oldest is None:
                    break
                await self._delete(oldest)

    async def _delete(self, entry: Entry) -> None:
        self._used.pop(entry, None)
        try:
            if entry.kind == "blob":
                await self._local.delete_blob(entry.repository, entry.digest)
            else:
                await self._local.delete_manifest(entry.repository, entry.digest)
        except OCIError as error:
            # What is not there was never finished, or is deleted already.
            if error.code not in ("BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
                raise
        self._index.forget(entry)
