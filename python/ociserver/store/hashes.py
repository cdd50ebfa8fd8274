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
        idle = next((key for key, (_, under_way) in self._kept.items() if not under_way.left()), None)
        if idle is not None:
            self.drop(idle)
        return idle is not None

    def put(self, key: str, state: bytes, under_way: BackgroundHasher) -> None:
        """Keep one for whoever finds that state recorded; there has to be room."""
        self.drop(key)
        self._kept[key] = state, under_way

    def take(self, key: str, state: bytes, size: int) -> BackgroundHasher | None:
        """The one of an upload of which that state is recorded and so many bytes are there; any other is dropped."""
        kept, under_way = self._kept.pop(key, (b"", None))
        if under_way is None or (kept == state and under_way.length() == size):
            return under_way
        # Another process has written meanwhile, or bytes have gone.
        under_way.close()
        return None

    def drop(self, key: str) -> None:
        """Forget one, and what waits for it."""
        _, under_way = self._kept.pop(key, (b"", None))
        if under_way is not None:
            under_way.close()

    async def close(self) -> None:
        """Forget them all; what is being hashed just now is waited for."""
        kept, self._kept = self._kept, OrderedDict()
        for _, under_way in kept.values():
            under_way.close()
        for _, under_way in kept.values():
            await until_left(under_way, 0)
