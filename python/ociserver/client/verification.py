"""Comparing a body with its digest while it is passed on."""

from __future__ import annotations

from typing import ClassVar, Final

from ociserver._core import BackgroundHasher
from ociserver.backlog import wait_until_below

__all__ = ["Verification"]

MOST: Final = 512 * 1024
"""Bytes that may wait to be hashed: two pieces, so that neither the thread that does it waits for the network, nor the
network for it."""

MOST_OF_FEW: Final = 4 * MOST
"""Likewise while few are compared: with as many as that the two seldom wait for each other. One client of a server over
a client got 1,000 MB/s instead of 860, and no more with twice as much."""

FEW: Final = 8
"""Bodies that are being compared."""


class Verification:
    """The digest of what has come so far, worked out while the next pieces are received and sent.

    Args:
        algorithm: of the digest.
    """

    _under_way: ClassVar[int] = 0

    def __init__(self, algorithm: str) -> None:
        self._hasher = BackgroundHasher(algorithm)
        self._closed = False
        Verification._under_way += 1

    async def add(self, piece: bytes) -> None:
        """Add bytes; waits while too many are not yet hashed."""
        most = MOST_OF_FEW if self._under_way <= FEW else MOST
        if self._hasher.add(piece) > most:
            # For more than the next piece: to be woken for each costs what the thread saves.
            await wait_until_below(self._hasher, most // 2)

    async def digest(self) -> str:
        """`algorithm:hex` of all of it."""
        await wait_until_below(self._hasher, 0)
        return self._hasher.digest()

    def close(self) -> None:
        """Nothing more comes."""
        if not self._closed:
            self._closed = True
            Verification._under_way -= 1
