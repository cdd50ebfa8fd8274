"""The API keys of a registry. They are in its database."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ociserver.api_keys import ApiKey, check_key_name
from ociserver.store import key_rows
from ociserver.store.key_rows import KeyEvent
from ociserver.store.read_cache import ReadCache
from ociserver.store.transaction import Metadata
from ociserver.store.upkeep import Upkeep

__all__ = ["ApiKeys"]


class ApiKeys:
    """The keys of an open store. Any process may change them, and every process sees that at once.

    A key that was found is found again without the database, until any process commits something.
    """

    def __init__(self, database: Metadata, upkeep: Upkeep, read_cache: ReadCache) -> None:
        self._database = database
        self._upkeep = upkeep
        self._read_cache = read_cache

    async def create(self, key: ApiKey, *, by: str = "") -> bool:
        """Add a key. False if there is one with this name.

        Args:
            key: with the hash of its secret.
            by: who makes it, for the audit log.

        Raises:
            ValueError: no key can have this name.
            OCIError: the disk or the database fails.
        """
        check_key_name(key.name)
        return await self._upkeep.take(lambda: key_rows.create(key, by))

    async def revoke(self, name: str, *, by: str = "") -> bool:
        """Remove a key, so that it and all tokens of it are refused. False if there is none with this name.

        Args:
            name: of the key.
            by: who removes it, for the audit log.

        Raises:
            OCIError: the disk or the database fails.
        """
        now = int(time.time())
        # It frees less than it takes, but it must be possible on a full disk.
        return await self._upkeep.free(lambda: key_rows.revoke(name, by, now))

    async def all(self) -> list[ApiKey]:
        """All keys, by name, also those that have expired."""
        return await self._database.read(key_rows.all_keys())

    async def find(self, name: str) -> ApiKey | None:
        """A key by its name, also if it has expired."""
        found = self._cached(name)
        if found is None:
            generation = self._read_cache.begin()
            found = await self._database.read(key_rows.find(name))
            if found is not None:
                generation.put(_place(name), found, None)
        return found

    def find_nowait(self, name: str) -> ApiKey | None:
        """A key by its name, in any thread. None: there is none, or `find` has to say."""
        found = self._cached(name)
        if found is None:
            generation = self._read_cache.begin()
            rows = self._database.read_nowait(*key_rows.select(name))
            if not rows:
                return None
            found = key_rows.key_of(rows[0])
            generation.put(_place(name), found, None)
        return found

    async def record_use(self, used: Mapping[str, int]) -> None:
        """Record when keys were used: by name, in seconds since the epoch.

        Raises:
            OCIError: the disk or the database fails.
        """
        await self._upkeep.take(lambda: key_rows.record_use(used), durable=False)

    async def take_events(self) -> list[KeyEvent]:
        """The changes that no process has taken yet, oldest first. Only one process gets each.

        Raises:
            OCIError: the disk or the database fails.
        """
        if not await self._database.read(key_rows.has_events()):
            return []
        return await self._upkeep.free(key_rows.take_events)

    def version(self) -> bytes | None:
        """A value that differs after every change of any process; None if that is not known."""
        return self._database.version()

    def _cached(self, name: str) -> ApiKey | None:
        found: ApiKey | None = self._read_cache.get(_place(name))
        return found


def _place(name: str) -> tuple[str, str, str]:
    """The key of an API key in the read cache. No repository has an empty name."""
    return "", name, "api key"
