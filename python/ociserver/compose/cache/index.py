"""What the cache knows of the contents that it keeps: whose a repository is, how large they are, when they were used.

The contents themselves are in the local registry, which is the only truth about what can be served. What is lost
here is found again when the cache is opened (`accounts`), except whose a repository is: that is synced before anything
is kept in it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from ociserver.compose.cache import queries
from ociserver.compose.cache.lru import LRU
from ociserver.compose.cache.queries import Content, Kept, Owner
from ociserver.compose.cache.schema import INDEX
from ociserver.store import Store
from ociserver.store.sqlite import SQLite
from ociserver.store.work import Database, Row, Work, drive

__all__ = ["FILE", "Index"]

Result = TypeVar("Result")

FILE: Final = "cache.db"
"""Name of the index in the folder of a store."""

MAX_REMEMBERED: Final = 10_000
"""Repositories whose owner is remembered, and tags whose freshness is; some 200 bytes each."""


class Index:
    """Reads give what is in memory where that cannot have changed; writes end when they are committed.

    Args:
        database: with the tables of `schema.INDEX`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._upstreams: LRU[str, Owner] = LRU(MAX_REMEMBERED)

    @classmethod
    def of(cls, store: Store | None) -> Self:
        """The index of a store, in its folder, which several processes may share; without one it is in memory."""
        if store is None:
            return cls(InMemory())
        return cls(SQLite(store.path / FILE, "full" if store.blobs.syncs else "off", INDEX))

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder of a store is that of a cache."""
        return (folder / FILE).exists()

    async def open(self) -> None:
        await self._database.open()

    async def close(self) -> None:
        await self._database.close()

    # Whose a repository is

    async def owner(self, repository: str) -> Owner | None:
        """Whose a repository is; None for nobody's so far."""
        if self._upstreams.get(repository):
            return "upstream"
        return self._remember(repository, await self._database.read(queries.owner_of(repository)))

    async def claim(self, repository: str, owner: Owner) -> tuple[Owner, bool]:
        """Give a repository to somebody, unless it has an owner; who has it now, and whether that is new."""
        known = await self.owner(repository)
        if known is not None:
            return known, False
        # Durable: what is kept without its owner's name would be taken for a push after a power cut, and never be
        # renewed.
        found, is_new = await self._database.write(queries.claim(repository, owner))
        self._remember(repository, found)
        return found, is_new

    async def release(self, repositories: Iterable[str]) -> None:
        """Make local repositories nobody's again."""
        await self._write(queries.release(repositories, "local"))

    async def owned(self, owner: Owner, after: str, limit: int) -> list[str]:
        """Repositories of an owner, after one."""
        return await self._database.read(queries.owned_after(owner, after, limit))

    # What is kept

    async def add(self, content: Content, repository: str, size: int, used: float | None = None) -> None:
        """Note that a content is kept in a repository, and takes so much."""
        now = time.time_ns()
        await self._write(queries.add(content, repository, size, now / 1e9 if used is None else used, now))

    async def forget(self, kept: Iterable[Kept]) -> None:
        """Note that contents are not kept any more, but for those that were kept again meanwhile."""
        await self._write(queries.forget(kept))

    async def leave(self, kept: Kept, repositories: Iterable[str]) -> None:
        """Note that a content is not in some repositories any more, unless it was kept again meanwhile."""
        await self._write(queries.leave(kept, repositories))

    async def remove(self, content: Content, repositories: Iterable[str]) -> bool:
        """Note that a content is not in some repositories any more; whether it is in no other, and so not kept."""
        return await self._write(queries.remove(content, repositories))

    async def leave_alone(self, repository: str) -> None:
        """Note nothing of a repository any more."""
        await self._write(queries.leave_alone(repository))

    async def note_uses(self, uses: Mapping[Content, float]) -> None:
        """Note when contents were used last."""
        await self._write(queries.note_uses(uses))

    async def total(self) -> int:
        """Bytes of all that is kept."""
        return await self._database.read(queries.total())

    async def least_used(self, limit: int) -> list[Kept]:
        """What has not been used for the longest time, in this order."""
        return await self._database.read(queries.least_used(limit))

    async def kept(self, after: int, limit: int) -> list[Kept]:
        """What is kept, after a row."""
        return await self._database.read(queries.kept_after(after, limit))

    async def known(self, contents: Sequence[Content], repository: str) -> set[Content]:
        """Which of some contents are noted to be in a repository."""
        return await self._database.read(queries.known(contents, repository))

    async def repository_with(self, digest: str) -> str | None:
        """A repository that has this blob."""
        return await self._database.read(queries.repository_with(digest))

    # What upstream has said of tags

    async def checked(self, repository: str, tag: str) -> float:
        """When upstream was last asked about a tag; 0 for never."""
        return await self._database.read(queries.checked(repository, tag))

    async def check_tag(self, repository: str, tag: str, digest: str, now: float) -> None:
        """Note what upstream has said of a tag."""
        await self._write(queries.check_tag(repository, tag, digest, now))

    async def forget_tag(self, repository: str, tag: str) -> None:
        """Note that a tag has to be asked for again."""
        await self._write(queries.forget_tag(repository, tag))

    async def _write(self, work: Work[Result]) -> Result:
        # Not synced: what a power cut takes is found again when the cache is opened.
        return await self._database.write(work, durable=False)

    def _remember(self, repository: str, owner: Owner | None) -> Owner | None:
        if owner == "upstream":
            # For ever, and asked for at each read. A local one may become nobody's, by a push that fails.
            self._upstreams.put(repository, owner)
        return owner


class InMemory:
    """A `Database` of one process, which ends when it is closed. Nothing waits, so works run on the event loop."""

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

    async def read(self, work: Work[Result]) -> Result:
        return drive(self._opened(), work)

    async def read_aside(self, work: Work[Result]) -> Result:
        return await self.read(work)

    def glance(self, statement: str, parameters: tuple[Any, ...]) -> list[Row] | None:
        return None

    async def write(self, work: Work[Result], *, durable: bool = True) -> Result:
        connection = self._opened()
        connection.execute("BEGIN")
        try:
            result = drive(connection, work)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    async def problems(self) -> list[str]:
        return []

    def version(self) -> bytes | None:
        return None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the cache is not open: use it in `async with`")
        return self._connection
