"""Counts the memory of the registry, and enforces its bound."""

from __future__ import annotations

from collections.abc import Callable

from ociserver.errors import OCIError

__all__ = ["Books"]


class Books:
    """Counts bytes before they are stored.

    Args:
        limit: the most bytes; None: no bound.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.make_room: Callable[[], None] = lambda: None
        """Called when something does not fit, to free what is no longer needed. By default it does nothing."""
        self.contents = 0
        """Bytes of blobs, manifests and unfinished uploads."""
        self.records = 0
        """Bytes of the records that describe the contents; see `ociserver.memory.costs`."""

    @property
    def total(self) -> int:
        """Bytes that count towards the limit."""
        return self.contents + self.records

    def take(self, contents: int = 0, records: int = 0) -> None:
        """Count bytes that are about to be stored.

        Raises:
            OCIError: UNKNOWN/507 if they do not fit. Then none of them are counted.
        """
        if not self._fits(contents + records):
            self.make_room()
            if not self._fits(contents + records):
                raise OCIError(
                    "UNKNOWN",
                    f"the registry is full: it uses {self.total} of at most {self._limit} bytes of memory, "
                    f"and {contents + records} more do not fit. Delete something, or raise max_bytes",
                    status=507,
                )
        self.contents += contents
        self.records += records

    def give(self, contents: int = 0, records: int = 0) -> None:
        """Subtract bytes that `take` has counted."""
        self.contents -= contents
        self.records -= records

    def _fits(self, size: int) -> bool:
        return self._limit is None or size <= 0 or self.total + size <= self._limit
