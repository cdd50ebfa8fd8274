"""The cache's records: the owner of each repository, and the size and last use of each content.

They are in the database of the store that keeps the contents, so all processes and nodes share them. The store alone
decides what the cache can serve. When a cache is opened, `accounts` restores lost entries. The owner of a repository
cannot be restored. So it is durable before a content is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from ociserver.compose.cache import queries
from ociserver.compose.cache.evicting import add_held
from ociserver.compose.cache.in_memory import InMemory
from ociserver.compose.cache.queries import Content, Kept, Kind, Owner
from ociserver.lru import LRU
from ociserver.store import Store
from ociserver.store.transaction import Transaction, TransactionRunner

__all__ = ["Index"]

Result = TypeVar("Result")

MAX_REMEMBERED: Final = 10_000
"""Repositories whose owner is in memory; about 200 bytes each."""


class Index:
    """Reads use memory for facts that cannot have changed. Writes return after the commit.

    Args:
        store: an open store, which has the index. None: the index is in memory, for one process.
    """

    def __init__(self, store: Store | None) -> None:
        self._store = store
        self._memory = InMemory()
        self._upstreams: LRU[str, Owner] = LRU(MAX_REMEMBERED)

    async def open(self) -> None:
        if self._store is None:
            await self._memory.open()

    async def close(self) -> None:
        await self._memory.close()

    def now(self) -> float:
        """Seconds since 1970, by the clock that all nodes share. Any thread may call it."""
        return time.time() if self._store is None else self._store.database.now()

    # Owners

    async def owner(self, repository: str) -> Owner | None:
        """The owner of a repository; None if it has none yet."""
        if self._upstreams.get(repository):
            return "upstream"
        return self._remember(repository, await self._database.read(queries.owner_of(repository)))

    async def claim(self, repository: str, owner: Owner) -> tuple[Owner, bool]:
        """Set the owner of a repository that has none. Returns the owner, and whether this call has set it."""
        known = await self.owner(repository)
        if known is not None:
            return known, False
        # Durable: without an owner, fetched contents would look pushed after a power cut, and would never be refreshed.
        found, is_new = await self._take(partial(queries.claim, repository, owner), durable=True)
        self._remember(repository, found)
        return found, is_new

    async def release(self, repositories: Iterable[str]) -> None:
        """Remove the owner of local repositories."""
        await self._free(partial(queries.release, list(repositories)))

    async def owned(self, owner: Owner, after: str, limit: int) -> list[str]:
        """Repositories of an owner, in order, after a name."""
        return await self._database.read(queries.owned_after(owner, after, limit))

    # Contents

    async def add(self, content: Content, repository: str, size: int) -> None:
        """Record that a repository has a content, which takes `size` bytes. Skips what the store has lost meanwhile."""
        now = self.now()
        if self._store is None:
            await self._free(partial(queries.add, content, (repository,), size, now, int(now * 1e9)))
        else:
            await self._free(partial(add_held, content, repository, size, now, int(now * 1e9)))

    async def forget(self, kept: Sequence[Kept]) -> None:
        """Remove contents, except those that were added again since they were read."""
        await self._free(partial(queries.forget, kept))

    async def leave(self, kept: Kept, repositories: Collection[str]) -> None:
        """Remove a content from some repositories, unless it was added again since it was read."""
        await self._free(partial(queries.leave, kept, repositories))

    async def remove(self, content: Content, repositories: Sequence[str]) -> bool:
        """Remove a content from some repositories. Returns whether it was in no other."""
        return await self._free(partial(queries.remove, content, repositories))

    async def leave_alone(self, repository: str) -> None:
        """Remove all records of a repository's contents."""
        await self._free(partial(queries.leave_alone, repository))

    async def note_uses(self, uses: Mapping[Content, float]) -> None:
        """Record the last uses of contents."""
        await self._take(partial(queries.note_uses, uses))

    async def total(self) -> int:
        """Bytes of all contents that are kept."""
        return await self._database.read(queries.total())

    async def least_used(self, limit: int) -> list[Kept]:
        """The least recently used contents, in this order."""
        return await self._database.read(queries.least_used(limit))

    async def kept(self, after: int, limit: int) -> list[Kept]:
        """Contents by row id, after the id `after`."""
        return await self._database.read(queries.kept_after(after, limit))

    async def known(self, kind: Kind, digests: Sequence[str], repository: str) -> set[str]:
        """The digests of those contents that are recorded for a repository."""
        return await self._database.read(queries.known(kind, digests, repository))

    async def repository_with(self, digest: str) -> str | None:
        """A repository that has this blob."""
        return await self._database.read(queries.repository_with(digest))

    # Tags

    async def checked(self, repository: str, tag: str) -> float:
        """The time of the last answer of upstream about a tag, by `now`; 0 for never."""
        return await self._database.read(queries.checked(repository, tag))

    async def check_tag(self, repository: str, tag: str, digest: str, now: float) -> None:
        """Record upstream's answer about a tag."""
        await self._take(partial(queries.check_tag, repository, tag, digest, now))

    async def forget_tag(self, repository: str, tag: str) -> None:
        """Forget upstream's answer about a tag."""
        await self._free(partial(queries.forget_tag, repository, tag))

    @property
    def _database(self) -> TransactionRunner:
        return self._memory if self._store is None else self._store.database

    async def _take(self, make: Callable[[], Transaction[Result]], *, durable: bool = False) -> Result:
        """Run a transaction that needs space. What is not durable and lost is restored when the cache is opened."""
        if self._store is None:
            return await self._memory.write(make)
        return await self._store.upkeep.take(make, durable=durable)

    async def _free(self, make: Callable[[], Transaction[Result]]) -> Result:
        """Run a transaction that must succeed on a full disk too, because it corrects the accounts."""
        if self._store is None:
            return await self._memory.write(make)
        return await self._store.upkeep.free(make, durable=False)

    def _remember(self, repository: str, owner: Owner | None) -> Owner | None:
        if owner == "upstream":
            # An upstream owner never changes, and each read needs it. A failed push may remove the owner "local".
            self._upstreams.put(repository, owner)
        return owner
