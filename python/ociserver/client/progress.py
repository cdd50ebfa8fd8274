"""The sizes of uploads that this process has left. A resumed upload then needs no request to find its size."""

from __future__ import annotations

from typing import Final

from ociserver.lru import LRU

__all__ = ["Progress"]

MAX_REMEMBERED: Final = 256
"""Uploads to remember. An entry takes about 200 bytes, or 4 KiB if the registry keeps its state in the id. A forgotten
upload costs one request."""


class Progress:
    """Sizes of uploads, by repository and id. `take` gives each size once, because the next request changes it."""

    def __init__(self) -> None:
        self._sizes: LRU[tuple[str, str], int] = LRU(MAX_REMEMBERED)

    def note(self, repository: str, upload_id: str, size: int) -> None:
        """Remember the size of an upload that no writer in this process has open."""
        self._sizes.put((repository, upload_id), size)

    def take(self, repository: str, upload_id: str) -> int | None:
        """The remembered size, or None. Forgets it."""
        return self._sizes.pop((repository, upload_id))
