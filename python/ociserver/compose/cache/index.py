"""The cache's database: the owner of each repository, and the size and last use of each content.

The contents themselves are in the local registry, which alone decides what the cache can serve. When a cache is opened,
`accounts` restores lost entries. The owner of a repository cannot be restored. So it is durable before a content is.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from ociserver.compose.cache import queries
from ociserver.compose.cache.queries import Content, Kept, Owner
from ociserver.compose.cache.schema import INDEX
from ociserver.lru import LRU
from ociserver.store import Store
from ociserver.store.sqlite import SQLite
from ociserver.store.transaction import Transaction, TransactionRunner, drive

__all__ = ["FILE", "Index"]

Result = TypeVar("Result")

FILE: Final = "cache.db"
"""Name of the database in the folder of a store."""

MAX_REMEMBERED: Final = 10_000
"""Repositories whose owner is in memory; about 200 bytes each."""


class Index:
    """Reads use memory for facts that cannot have changed. Writes return after the commit.

    Args:
        database: has the tables of `schema.INDEX`.
    """

    def __init__(self, database: TransactionRunner) -> None:
        self._database = database
        self._upstreams: LRU[str, Owner] = LRU(MAX_REMEMBERED)

    @classmethod
    def of(cls, store: Store | None) -> Self:
        """The index in the folder of a store, which several processes may share. Without a store, it is in memory."""
        if store is None:
            return cls(InMemory())
        return cls(SQLite(store.path / FILE, "full" if store.blob_folder.syncs else "off", store.modes, INDEX))

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder of a store has the index of a cache."""
        return (folder / FILE).exists()

    async def open(self) -> None:
        await self._database.open()

    async def close(self) -> None:
        await self._database.close()

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
        found, is_new = await self._database.write(partial(queries.claim, repository, owner))
        self._remember(repository, found)
        return found, is_new

    async def release(self, repositories: Iterable[str]) -> None:
        """Remove the owner of local repositories."""
        await self._write(partial(queries.release, repositories))

    async def owned(self, owner: Owner, after: str, limit: int) -> list[str]:
        """Repositories of an owner, in order, after a name."""
        return await self._database.read(queries.owned_after(owner, after, limit))

    # Contents

    async def add(self, content: Content, repository: str, size: int) -> None:
        """Record that a repository has a content, which takes `size` bytes."""
        now = time.time_ns()
        await self._write(partial(queries.add, content, repository, size, now / 1e9, now))

    async def forget(self, kept: Iterable[Kept]) -> None:
        """Remove contents, except those that were added again since they were read."""
        await self._write(partial(queries.forget, kept))

    async def leave(self, kept: Kept, repositories: Iterable[str]) -> None:
        """Remove a content from some repositories, unless it was added again since it was read."""
        await self._write(partial(queries.leave, kept, repositories))

    async def remove(self, content: Content, repositories: Iterable[str]) -> bool:
        """Remove a content from some repositories. Returns whether it was in no other."""
        return await self._write(partial(queries.remove, content, repositories))

    async def leave_alone(self, repository: str) -> None:
        """Remove all records of a repository's contents."""
        await self._write(partial(queries.leave_alone, repository))

    async def note_uses(self, uses: Mapping[Content, float]) -> None:
        """Record the last uses of contents."""
        await self._write(partial(queries.note_uses, uses))

    async def total(self) -> int:
        """Bytes of all contents that are kept."""
        return await self._database.read(queries.total())

    async def least_used(self, limit: int) -> list[Kept]:
        """The least recently used contents, in this order."""
        return await self._database.read(queries.least_used(limit))

    async def kept(self, after: int, limit: int) -> list[Kept]:
        """Contents by row id, after the id `after`."""
        return await self._database.read(queries.kept_after(after, limit))

    async def known(self, contents: Sequence[Content], repository: str) -> set[Content]:
        """Those of the contents that are recorded for a repository."""
        return await self._database.read(queries.known(contents, repository))

    async def repository_with(self, digest: str) -> str | None:
        """A repository that has this blob."""
        return await self._database.read(queries.repository_with(digest))

    # Tags

    async def checked(self, repository: str, tag: str) -> float:
        """The time of the last answer of upstream about a tag, in seconds since 1970; 0 for never."""
        return await self._database.read(queries.checked(repository, tag))

    async def check_tag(self, repository: str, tag: str, digest: str, now: float) -> None:
        """Record upstream's answer about a tag."""
        await self._write(partial(queries.check_tag, repository, tag, digest, now))

    async def forget_tag(self, repository: str, tag: str) -> None:
        """Forget upstream's answer about a tag."""
        await self._write(partial(queries.forget_tag, repository, tag))

    async def _write(self, make: Callable[[], Transaction[Result]]) -> Result:
        # Not synced: after a power cut, lost entries are restored when the cache is opened.
        return await self._database.write(make, durable=False)

    def _remember(self, repository: str, owner: Owner | None) -> Owner | None:
        if owner == "upstream":
            # An upstream owner never changes, and each read needs it. A failed push may remove the owner "local".
            self._upstreams.put(repository, owner)
        return owner


class InMemory:
    """A `TransactionRunner` in memory, for one process. It never waits, so the SQL runs on the event loop."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        for steps in INDEX.migrations:
            for step in steps:
                assert isinstance(step, str)
                connection.execute(step)
        self._connection = connection

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def read(self, transaction: Transaction[Result]) -> Result:
        return drive(self._opened(), transaction)

    async def write(self, make: Callable[[], Transaction[Result]], *, durable: bool = True) -> Result:
        connection = self._opened()
        connection.execute("BEGIN")
        try:
            result = drive(connection, make())
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the cache is not open: use it in `async with`")
        return self._connection
