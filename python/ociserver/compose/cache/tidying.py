"""Cleans up after killed processes and power cuts, once, in the background, when a cache is opened."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ociserver.compose.cache import accounts
from ociserver.compose.cache.blobs import Blobs
from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.locks import Locks
from ociserver.store import Store
from ociserver.store.collect import unknown_files
from ociserver.store.transaction import LeaseHeldError

__all__ = ["Tidying"]

LEASE: Final = "tidying"
"""The lease of the process or node that does it."""

_OLD_FOLDER: Final = "filling"
"""Name of the folder of lock files in earlier versions."""

_log = logging.getLogger("ociserver")


class Tidying:
    """Deletes the partial files of killed processes, and corrects the index.

    Args:
        store: keeps the contents; None if they are in memory, where nothing is left to clean up.
        index: is corrected.
        eviction: makes room.
        locks: between processes.
        blobs: deletes the partial file of a download.
        is_local: whether clients push to a repository.
    """

    def __init__(
        self,
        store: Store | None,
        index: Index,
        eviction: Eviction,
        locks: Locks,
        blobs: Blobs,
        is_local: Callable[[str], bool] | None,
    ) -> None:
        self._store = store
        self._index = index
        self._eviction = eviction
        self._locks = locks
        self._blobs = blobs
        self._is_local = is_local or (lambda _: False)

    async def run(self) -> None:
        """Do everything. Logs errors, because no caller waits."""
        try:
            if self._store is not None:
                await self._run(self._store)
        except Exception:
            _log.exception("the cache could not clean up after killed processes; it tries again when it is opened next")

    async def _run(self, store: Store) -> None:
        async for lock in self._locks.abandoned():
            await self._blobs.clear(lock)
        with suppress(LeaseHeldError):  # another process or node does it
            async with store.database.lease(LEASE):
                await self._correct(store)
        await self._eviction.make_room()

    async def _correct(self, store: Store) -> None:
        if store.has_folder:
            await asyncio.to_thread(shutil.rmtree, store.path / _OLD_FOLDER, ignore_errors=True)
        await accounts.settle(store, self._index)
        await accounts.adopt(store, self._index, self._eviction.takes, self._is_local)
        if store.has_files:  # a bucket is not listed; collection deletes what is recorded
            async for _, files in unknown_files(store):
                await store.blobs.delete([file.key for file in files])
