"""How far uploads were when this process left them, so that whoever goes on need not ask the registry first."""

from __future__ import annotations

from typing import Final

from ociserver.lru import LRU

__all__ = ["Progress"]

MAX_REMEMBERED: Final = 256
"""Uploads, some 200 bytes each, or 4 KiB where a registry keeps its state in the id. One that was forgotten costs a
request."""


class Progress:
    """Sizes of uploads, by repository and id. Each is given out once: it holds until a request goes on with the
    upload."""

    def __init__(self) -> None:
        self._sizes: LRU[tuple[str, str], int] = LRU(MAX_REMEMBERED)

    def note(self, repository: str, upload_id: str, size: int) -> None:
        """Remember how far an upload is that nobody in this process writes to."""
        self._sizes.put((repository, upload_id), size)

    def take(self, repository: str, upload_id: str) -> int | None:
        """How far it was, or None where that is not known."""
        return self._sizes.pop((repository, upload_id))
