"""Comparing a body with its digest while it is passed on."""

from __future__ import annotations

from typing import Final

from ociserver._core import BackgroundHasher
from ociserver.backlog import until_left

__all__ = ["Verification"]

MOST: Final = 512 * 1024
"""Bytes that may wait to be hashed: two pieces, so that neither the thread that does it waits for the network, nor the
network for it."""


class Verification:
    """The digest of what has come so far, worked out while the next pieces are received and sent.

    Args:
        algorithm: of the digest.
    """

    def __init__(self, algorithm: str) -> None:
        self._hasher = BackgroundHasher(algorithm)

    async def add(self, piece: bytes) -> None:
        """Add bytes; waits while too many are not yet hashed."""
        if self._hasher.add(piece) > MOST:
            # For more than the next piece: to be woken for each costs what the thread saves.
            await until_left(self._hasher, MOST // 2)

    async def digest(self) -> str:
        """`algorithm:hex` of all of it."""
        await until_left(self._hasher, 0)
        return self._hasher.digest()
