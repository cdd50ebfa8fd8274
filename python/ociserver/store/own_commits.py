"""Tells, without a read, whether another process has committed to the database.

Every commit changes the header of the log's index (`wal_index`). The writer thread has the lock of the processes when
it looks at the header: after it has begun a transaction, and after its commit. So a header that it has not seen comes
from another process, or from the truncation of the log, which counts as such.
"""

from __future__ import annotations

from ociserver.store.wal_index import WalIndex

__all__ = ["OwnCommits"]


class OwnCommits:
    """The commits of this process among all commits."""

    def __init__(self) -> None:
        self._index: WalIndex | None = None
        self._last: bytes | None = None
        self._epoch = 0

    def open(self, index: WalIndex | None) -> None:
        """The database was opened. Others may have committed while it was closed.

        Args:
            index: the index of the database; None if it cannot be mapped.
        """
        self._index, self._last = index, None

    def begin(self) -> None:
        """The writer thread has begun a transaction, so that nobody else can commit."""
        if self._header() != self._last:
            self._epoch += 1

    def end(self) -> None:
        """The writer thread has committed, and nobody else has yet."""
        self._last = self._header()

    def epoch(self) -> int | None:
        """A number that stays the same while only this process commits. None if that is not known now.

        Any thread may call it. What a transaction of this process has written is unchanged by others as long as the
        epoch is what it was before that transaction.
        """
        epoch = self._epoch  # first: a commit of another process in between must not get the later number
        return None if self._last is None or self._header() != self._last else epoch

    def _header(self) -> bytes | None:
        return None if self._index is None else self._index.header()
