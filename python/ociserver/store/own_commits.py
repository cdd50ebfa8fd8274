"""Tells, without a read, whether another process has committed to the database.

Every commit changes the header of the log's index (`wal_index`). The writer thread looks at the header when it has the
lock of the processes, and again after its commit. So a header that it has not seen comes from another process, or from
the truncation of the log, which counts as such.
"""

from __future__ import annotations

from ociserver.store.wal_index import WalIndex

__all__ = ["OwnCommits"]


class OwnCommits:
    """The commits of this process among all commits.

    Args:
        index: the index of the database; None if it cannot be mapped.
    """

    def __init__(self, index: WalIndex | None) -> None:
        self._index = index
        self._last: bytes | None = None
        self._epoch = 0

    def begin(self) -> None:
        """The writer thread has the lock, and is about to commit."""
        if self._header() != self._last:
            self._epoch += 1

    def end(self) -> None:
        """The writer thread has committed, or has failed to, and still has the lock."""
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
