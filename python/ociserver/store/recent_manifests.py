"""Manifests that were read by digest a moment ago, for a database that nobody can ask in time whether it has changed.

What a digest names never changes, but it can be deleted. So for `lifetime_s` after another process or node has deleted
a manifest, this one may still serve it to a client that asks for its digest and may read the repository: rights are
decided before. Nothing else can be stale. Only what was found is kept, so a manifest that was just pushed is found at
once. Tags are never kept, and neither is anything that a HEAD needs, which renews the manifest.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock
from typing import Final, NamedTuple

from ociserver.interface import Manifest
from ociserver.store.read_cache import MAX_BYTES, MAX_ENTRY, OVERHEAD

__all__ = ["Begun", "RecentManifests"]

MAX_ENTRIES: Final = 4096
"""Manifests in each process."""


class Begun(NamedTuple):
    """When a read of the database began."""

    at: float
    clearings: int


class RecentManifests:
    """Manifests by repository and digest. Any thread may use it.

    Args:
        lifetime_s: seconds after which a manifest is read again. 0: nothing is kept.
        max_entries: the most manifests. The oldest goes first.
        max_bytes: bytes of all of them, with their overhead.
    """

    def __init__(self, lifetime_s: float, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._lifetime_s = lifetime_s
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        # With the time at which each ends, and its bytes. Oldest first.
        self._entries: OrderedDict[tuple[str, str], tuple[Manifest, float, int]] = OrderedDict()
        self._bytes = 0
        self._clearings = 0
        # For changes. `get` needs none.
        self._lock = Lock()

    def get(self, repository: str, digest: str) -> Manifest | None:
        """A manifest, or None."""
        entry = self._entries.get((repository, digest))
        return entry[0] if entry is not None and entry[1] > time.monotonic() else None

    def begin(self) -> Begun:
        """What `put` needs. Call this before the database is read."""
        return Begun(time.monotonic(), self._clearings)

    def put(self, begun: Begun, repository: str, manifest: Manifest) -> None:
        """Add a manifest, unless this process may have deleted it while it was read."""
        size = OVERHEAD + len(manifest.content)
        until = begun.at + self._lifetime_s
        if size > MAX_ENTRY or until <= time.monotonic():
            return
        key = repository, manifest.descriptor.digest
        with self._lock:
            if begun.clearings != self._clearings:
                return
            self._remove(key)
            self._entries[key] = manifest, until, size
            self._bytes += size
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                self._remove(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget all manifests, because this process may have deleted some."""
        with self._lock:
            self._clearings += 1
            self._entries.clear()
            self._bytes = 0

    def _remove(self, key: tuple[str, str]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[2]
