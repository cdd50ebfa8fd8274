"""Hashes that go on between two requests of an upload, in this process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ociserver._core import BackgroundHasher
from ociserver.backlog import wait_until_below

__all__ = ["MOST_AT_WORK", "MOST_KEPT", "Hashes"]

MOST_AT_WORK: Final = 8
"""Hashes that have more to do. The pieces that one waits for are memory that nobody writes to the disk, up to 4 MiB,
and two cores hash no faster for more of them: with that many at work whoever ends a request waits for its own."""

MOST_KEPT: Final = 256
"""Hashes in all, some 0.5 KiB each. Of one that was forgotten the next request reads again what was not recorded."""

Seen = tuple[bytes, int]
"""How an upload was left: its recorded state, and when its file was written to last (nanoseconds)."""


class Hashes:
    """A hash for each upload that this process was at, in the order in which requests ended. For one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Seen, BackgroundHasher]] = OrderedDict()

    def has_room(self) -> bool:
        """Whether one more that has more to do may be kept."""
        return sum(hashing.left() > 0 for _, hashing in self._kept.values()) < MOST_AT_WORK

    def put(self, key: str, seen: Seen, hashing: BackgroundHasher) -> None:
        """Keep one for whoever finds the upload as it was left."""
        self.drop(key)
        self._kept[key] = seen, hashing
        if len(self._kept) > MOST_KEPT:
            self.drop(next(iter(self._kept)))

    def take(self, key: str, seen: Seen, size: int) -> BackgroundHasher | None:
        """The one of an upload that is as it was left, of so many bytes; any other is dropped."""
        kept, hashing = self._kept.pop(key, (None, None))
        if hashing is None or (kept == seen and hashing.length() == size):
            return hashing
        # Another process has written meanwhile, or bytes have gone.
        hashing.close()
        return None

    def drop(self, key: str) -> None:
        """Forget one, and what waits for it."""
        _, hashing = self._kept.pop(key, (None, None))
        if hashing is not None:
            hashing.close()

    async def close(self) -> None:
        """Forget them all; what is being hashed just now is waited for."""
        kept, self._kept = self._kept, OrderedDict()
        for _, hashing in kept.values():
            hashing.close()
        for _, hashing in kept.values():
            await wait_until_below(hashing, 0)
