"""Keeps the size of the cache below a bound. Evicts the least recently used contents."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

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

    With a store, evicting a content frees its bytes at once. A content counts once, even if many repositories have it.

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
        now = time.time()
        if now - (self._used.get(content) or 0.0) < self._use_after:
            return
        self._used.put(content, now)
        self._unwritten[content] = now
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write_later())

    def was_just_used(self, content: Content) -> bool:
        """Whether the last recorded use of a content is recent enough. Any thread may call this."""
        return time.time() - (self._used.peek(content) or 0.0) < self._use_after

    async def deleted(self, content: Content, repository: str) -> None:
        """Free a content that a client has deleted from an upstream repository."""
        if self._store is not None and content.kind == "blob":
            await self._store.drop_blobs({content.digest: ()})
        await self._index.remove(content, [repository])

    def takes(self, size: int) -> int:
        """Bytes that a content of this size takes on the disk. A file takes whole blocks."""
        is_file = self._store is not None and size > INLINE_SIZE
        return -(-size // BLOCK) * BLOCK if is_file else size

    async def make_room(self) -> None:
        """Evict contents until the size is below the bound."""
        if self._max is None:
            return
        async with self._one:
            while (too_much := await self._index.total() + self._coming - self._max) > 0:
                await self._write_uses()
                victims: list[Kept] = []
                for kept in await self._index.least_used(BATCH):
                    victims.append(kept)
                    too_much -= kept.size
                    if too_much <= 0:
                        break
                if not victims:
                    return
                await self._evict(victims)

    async def _evict(self, victims: list[Kept]) -> None:
        blobs = {kept.content.digest: kept.repositories for kept in victims if kept.content.kind == "blob"}
        if self._store is not None:
            if blobs:
                await self._store.drop_blobs(blobs)
        else:
            for digest, repositories in blobs.items():
                for repository in repositories:
                    with _missing_is_gone():
                        await self._local.delete_blob(repository, digest)
        await asyncio.gather(*(self._delete(kept) for kept in victims if kept.content.kind == "manifest"))
        for kept in victims:
            self._used.pop(kept.content)
        await self._index.forget(victims)

    async def _delete(self, kept: Kept) -> None:
        with _missing_is_gone():
            await self._local.delete_manifest(kept.content.repository, kept.content.digest)

    async def _write_later(self) -> None:
        await asyncio.sleep(NOTE_AFTER_S)
        await self._try_to_write_uses()

    async def _try_to_write_uses(self) -> None:
        try:
            await self._write_uses()
        except Exception:
            _log.warning("the last uses of cached contents could not be written to cache.db", exc_info=True)

    async def _write_uses(self) -> None:
        uses, self._unwritten = self._unwritten, {}
        if uses:
            await self._index.note_uses(uses)


@contextmanager
def _missing_is_gone() -> Iterator[None]:
    try:
        yield
    except OCIError as error:
        # A client may have deleted the content.
        if error.code not in CONTENT_UNKNOWN:
            raise
