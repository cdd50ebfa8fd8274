"""Hashes that go on between two requests of an upload, in this process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ociserver._core import BackgroundHasher
from ociserver.backlog import until_left

__all__ = ["MOST_HASHES", "Hashes"]

MOST_HASHES: Final = 8
"""Hashes that are kept. The pieces that one waits for are memory that nobody writes to the disk, up to 2 MiB, and two
cores hash no faster for more of them: with that many at work whoever ends a request waits for its own."""


class Hashes:
    """A hash for each of a few uploads, in the order in which their requests ended. For one event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[bytes, BackgroundHasher]] = OrderedDict()

    def has_room(self) -> bool:
        """Whether one more may be kept; one that has no more to do makes room."""
        if len(self._kept) < MOST_HASHES:
            return True
        # What was recorded for it still is, and the file has what that has not.
        idle = next((key for key, (_, hashing) in self._kept.items() if not hashing.left()), None)
        if idle is not None:
            self.drop(idle)
        return idle is not None

    def put(self, key: str, state: bytes, hashing: BackgroundHasher) -> None:
        """Keep one for whoever finds that state recorded; there has to be room, and none of this upload."""
        self._kept[key] = state, hashing

    def take(self, key: str, state: bytes, size: int) -> BackgroundHasher | None:
        """The one of an upload of which that state is recorded and so many bytes are there; any other is dropped."""
        kept, hashing = self._kept.pop(key, (b"", None))
        if hashing is None or (kept == state and hashing.length() == size):
            return hashing
        # Another process has written meanwhile, or bytes have gone.
        hashing.close()
        return None

    def drop(self, key: str) -> None:
        """Forget one, and what waits for it."""
        _, hashing = self._kept.pop(key, (b"", None))
        if hashing is not None:
            hashing.close()

    async def close(self) -> None:
        """Forget them all; what is being hashed just now is waited for."""
        kept, self._kept = self._kept, OrderedDict()
        for _, hashing in kept.values():
            hashing.close()
        for _, hashing in kept.values():
            await until_left(hashing, 0)
