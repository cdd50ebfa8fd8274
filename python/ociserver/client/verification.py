"""Compares a body with its digest, in a thread, while the body is passed on."""

from __future__ import annotations

from typing import Final

from ociserver._core import BackgroundHasher
from ociserver.backlog import wait_until_below

__all__ = ["ActiveBodies", "Verification"]

MAX_BACKLOG: Final = 512 * 1024
"""Bytes of a body that may wait to be hashed. With two pieces, the hashing thread and the network do not wait for each
other."""

MAX_BACKLOG_OF_FEW: Final = 4 * MAX_BACKLOG
"""The same limit while few bodies are verified. With it, thread and network seldom wait for each other. One client of a
server in front of a client got 1,000 MB/s instead of 860 MB/s, and no more with twice this value."""

FEW: Final = 8
"""Number of concurrent bodies up to which `MAX_BACKLOG_OF_FEW` applies."""


class ActiveBodies:
    """Counts the bodies that are being verified, to limit the memory of all of them."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def max_backlog(self) -> int:
        """Bytes of each body that may wait to be hashed."""
        return MAX_BACKLOG_OF_FEW if self.count <= FEW else MAX_BACKLOG


_OF_PROCESS: Final = ActiveBodies()


class Verification:
    """The digest of a body. It is computed while the next pieces are received and sent.

    Args:
        algorithm: of the digest.
        active: counts this body until `close`. By default all bodies of the process are counted together.
    """

    def __init__(self, algorithm: str, active: ActiveBodies = _OF_PROCESS) -> None:
        self._hasher = BackgroundHasher(algorithm)
        self._closed = False
        self._active = active
        active.count += 1

    async def add(self, piece: bytes) -> None:
        """Add bytes. Waits while too many bytes are not hashed yet."""
        limit = self._active.max_backlog
        if self._hasher.add(piece) > limit:
            # Wait for room for several pieces: a wake-up for each piece would cost what the thread saves.
            await wait_until_below(self._hasher, limit // 2)

    async def digest(self) -> str:
        """`algorithm:hex` of all bytes."""
        await wait_until_below(self._hasher, 0)
        return self._hasher.digest()

    def close(self) -> None:
        """Stop counting this body. No bytes may be added afterwards."""
        if not self._closed:
            self._closed = True
            self._active.count -= 1
