"""What is done once, in the background, when a cache is opened: killed processes and power cuts leave things behind."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable

from ociserver.compose.cache import accounts
from ociserver.compose.cache.blobs import Blobs
from ociserver.compose.cache.eviction import Eviction
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.locks import Locks
from ociserver.store import Store
from ociserver.store.collect import unknown_files

__all__ = ["Tidying"]

_OLD_FOLDER = "filling"
"""Locks of a time when they were told by another name."""

_log = logging.getLogger("ociserver")


class Tidying:
    """Deletes what killed processes were fetching and deleting, and counts what they had fetched.

    Args:
        store: what keeps the contents; None: nothing outlives a process.
        index: what is kept.
        eviction: makes room.
        locks: between processes.
        blobs: knows what a download leaves behind.
        is_local: whether a repository is pushed to.
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
        """Do all of it; what goes wrong is logged, as nobody waits for it."""
        try:
            if self._store is not None:
                await self._run(self._store)
        except Exception:
            _log.exception("what killed processes have left in the cache could not be tidied up")

    async def _run(self, store: Store) -> None:
        async for lock in self._locks.abandoned():
            await self._blobs.clear(lock)
        turn = self._locks.lock("tidying")
        if not await turn.try_hold():
            return  # another process is at it
        try:
            await asyncio.to_thread(shutil.rmtree, store.path / _OLD_FOLDER, ignore_errors=True)
            await accounts.settle(store, self._index)
            await accounts.adopt(store, self._index, self._eviction.takes, self._is_local)
            async for _, files in unknown_files(store):
                await store.blobs.delete([file.key for file in files])
        finally:
            turn.release()
        await self._eviction.make_room()
