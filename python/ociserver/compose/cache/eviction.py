"""Keeps the size of the cache below a bound. Evicts the least recently used contents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Final

from ociserver.compose.cache.evicting import evict, victims_of
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.queries import Content, Kept
from ociserver.errors import CONTENT_UNKNOWN, OCIError
from ociserver.interface import Backend
from ociserver.lru import LRU
from ociserver.store import Store
from ociserver.store.upload import INLINE_SIZE

__all__ = ["USE_AFTER_S", "Eviction"]

USE_AFTER_S: Final = 10.0
"""Seconds after which another use of a content is recorded, so that not every read causes a write."""

NOTE_AFTER_S: Final = 5.0
"""Seconds for which uses are collected in memory before one transaction writes them. A kill loses them, which affects
only the order of eviction."""

MAX_REMEMBERED: Final = 10_000
"""Contents whose last use is in memory; about 300 bytes each."""

BATCH: Final = 100
"""Contents that one transaction deletes."""

BLOCK: Final = 4096
"""Block size of the disk in bytes: files take whole blocks."""

_log = logging.getLogger("ociserver")


class Eviction:
    """Counts the contents of upstream that are kept, and makes room for more.

    A content counts once, even if many repositories have it. Evicting it frees its bytes at once in a folder, and at a
    later collection in a bucket.

    Args:
        local: the registry that keeps the contents.
        store: the store in `local`; None if `local` is not a store.
        index: counts.
        max_bytes: the bound; None for none.
        use_after: seconds after which another use of a content is recorded.
    """

    def __init__(
        self, local: Backend, store: Store | None, index: Index, max_bytes: int | None, use_after: float = USE_AFTER_S
    ) -> None:
        self._local = local
        self._store = store
        self._index = index
        self._max = max_bytes
        self._use_after = use_after
        self._used: LRU[Content, float] = LRU(MAX_REMEMBERED)
        self._unwritten: dict[Content, float] = {}
        self._writing: asyncio.Task[None] | None = None
        # Bytes that this process is about to add. Other processes make room for their own after they have added them.
        self._coming = 0
        self._one = asyncio.Lock()

    async def close(self) -> None:
        """Write the uses that are still in memory."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None
        await self._try_to_write_uses()

    def fits(self, size: int) -> bool:
        """Whether a blob of this size fits into the cache at all."""
        return self._max is None or self.takes(size) <= self._max

    @asynccontextmanager
    async def keep(self, content: Content, repository: str, size: int) -> AsyncIterator[None]:
        """Wrap the code that adds a content to the local registry. Makes room before it, and counts it afterwards."""
        takes = self.takes(size)
        self._coming += takes
        try:
            await self.make_room()
            yield
            await self._index.add(content, repository, takes)
        finally:
            self._coming -= takes
        # Another process may have used the room in the meantime.
        await self.make_room()

    async def count(self, content: Content, repository: str, size: int) -> None:
        """Count a content that needed no additional room: a mounted blob, or a manifest that was already there."""
        await self._index.add(content, repository, self.takes(size))

    def use(self, content: Content) -> None:
        """Record a use of a content."""
        now = self._index.now()
        if now - (self._used.get(content) or 0.0) < self._use_after:
            return
        self._used.put(content, now)
        self._unwritten[content] = now
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write_later())

    def was_just_used(self, content: Content) -> bool:
        """Whether the last recorded use of a content is recent enough. Any thread may call this."""
        return self._index.now() - (self._used.peek(content) or 0.0) < self._use_after

    async def deleted(self, content: Content, repository: str) -> None:
        """Free a content that a client has deleted from an upstream repository."""
        if self._store is not None and content.kind == "blob":
            await self._store.drop_blobs({content.digest: ()})
        await self._index.remove(content, [repository])

    def takes(self, size: int) -> int:
        """Bytes that a content of this size takes. A file takes whole blocks."""
        is_file = self._store is not None and self._store.has_files and size > INLINE_SIZE
        return -(-size // BLOCK) * BLOCK if is_file else size

    async def make_room(self) -> None:
        """Evict contents until the size is below the bound."""
        if self._max is None:
            return
        async with self._one:
            while await self._index.total() + self._coming > self._max:
                # Also if that fails, as on a full disk: only the order depends on it.
                await self._try_to_write_uses()
                most = self._max - self._coming
                victims = await (self._evict(most) if self._store is None else self._evict_from(self._store, most))
                if not victims:
                    return
                for kept in victims:
                    self._used.pop(kept.content)

    async def _evict_from(self, store: Store, most: int) -> list[Kept]:
        is_recorded = store.blobs.records is not None
        evicted = await store.free(partial(evict, most, BATCH, is_recorded=is_recorded, now=int(store.database.now())))
        # The transaction is synced before the files are deleted: after a power cut no row may name a missing file.
        await store.blobs.delete(evicted.keys)
        return evicted.contents

    async def _evict(self, most: int) -> list[Kept]:
        victims = victims_of(await self._index.least_used(BATCH), await self._index.total() - most)
        for kept in victims:
            for repository in kept.repositories:
                with _missing_is_gone():
                    await self._delete(kept.content, repository)
        await self._index.forget(victims)
        return victims

    async def _delete(self, content: Content, repository: str) -> None:
        if content.kind == "blob":
            await self._local.delete_blob(repository, content.digest)
        else:
            await self._local.delete_manifest(repository, content.digest)

    async def _write_later(self) -> None:
        await asyncio.sleep(NOTE_AFTER_S)
        await self._try_to_write_uses()

    async def _try_to_write_uses(self) -> None:
        uses, self._unwritten = self._unwritten, {}
        try:
            if uses:
                await self._index.note_uses(uses)
        except Exception:
            _log.warning("the last uses of cached contents could not be recorded", exc_info=True)


@contextmanager
def _missing_is_gone() -> Iterator[None]:
    try:
        yield
    except OCIError as error:
        # A client may have deleted the content.
        if error.code not in CONTENT_UNKNOWN:
            raise
