"""The hashes of uploads, between two requests of an upload that the same process serves.

A request is answered when its bytes are in the file. They may be hashed later, while the client sends its next request,
which continues with the hash from this cache. So the state of the hash need not be written to the database with each
request either. benches/NOTES.md has the figures.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ociserver._core import BackgroundHasher
from ociserver.backlog import wait_until_below

__all__ = ["MAX_ENTRIES", "MAX_UNFINISHED", "HashCache", "Seen"]

MAX_UNFINISHED: Final = 8
"""Cached hashes that still have bytes to hash. Those bytes are in memory, up to 4 MiB for each, and two cores hash no
faster for more of them. With that many unfinished, a request waits for its own hash before it ends."""

MAX_ENTRIES: Final = 256
"""Cached hashes in all, some 0.5 KiB each. Without its hash, a request reads again what the recorded state lacks."""

Seen = tuple[bytes, int]
"""What an upload looked like when its request ended: its recorded state, and when its file was modified (ns)."""


class HashCache:
    """Maps the id of an upload to its hash. The entry that was added first is evicted first. For one event loop.

    Args:
        max_entries: entries in all.
        max_unfinished: entries that still have bytes to hash.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_unfinished: int = MAX_UNFINISHED) -> None:
        self._max_entries = max_entries
        self._max_unfinished = max_unfinished
        self._entries: OrderedDict[str, tuple[Seen, BackgroundHasher]] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def has_room(self) -> bool:
        """Whether one more hash that has bytes to hash may be added."""
        return sum(hashing.left() > 0 for _, hashing in self._entries.values()) < self._max_unfinished

    def put(self, key: str, seen: Seen, hashing: BackgroundHasher) -> None:
        """Add the hash of an upload."""
        self.drop(key)
        self._entries[key] = seen, hashing
        if len(self._entries) > self._max_entries:
            self.drop(next(iter(self._entries)))

    def take(self, key: str, seen: Seen, size: int) -> BackgroundHasher | None:
        """Remove and return the hash of an upload, if the upload looks as it did and has this many bytes.

        Any other hash is dropped: another process has written meanwhile, or bytes are missing.
        """
        cached, hashing = self._entries.pop(key, (None, None))
        if hashing is None or (cached == seen and hashing.length() == size):
            return hashing
        hashing.close()
        return None

    def drop(self, key: str) -> None:
        """Remove an entry, with the bytes that it has yet to hash."""
        _, hashing = self._entries.pop(key, (None, None))
        if hashing is not None:
            hashing.close()

    async def close(self) -> None:
        """Remove all entries, and wait for the threads that hash for them."""
        entries, self._entries = self._entries, OrderedDict()
        for _, hashing in entries.values():
            hashing.close()
        for _, hashing in entries.values():
            await wait_until_below(hashing, 0)
