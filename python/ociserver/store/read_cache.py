"""A cache of results of the database, which is valid until anything is committed.

Entries expire neither by time nor by key: any commit of any process empties the cache. So a cached result is what the
database would return now. Reads are three times as fast while nothing is written, which is most of the time. While
clients write, the cache costs only the work of adding entries.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Final

__all__ = ["Generation", "ReadCache"]

MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of all entries, with their overhead, in each process."""

MAX_ENTRY: Final = 64 * 1024
"""Bytes of one entry. A larger content is not cached: to read it costs more than to find it."""

OVERHEAD: Final = 1024
"""Bytes that an entry takes besides its content: its key, a descriptor, their strings."""


class ReadCache:
    """Results that were read since the last commit. Any thread may use it.

    Args:
        version: returns the version of the database, which changes with each commit; None if it is not known.
        max_bytes: bytes of all entries, with their overhead.
    """

    def __init__(self, version: Callable[[], bytes | None], max_bytes: int = MAX_BYTES) -> None:
        self._version = version
        self._max_bytes = max_bytes
        self._generation = Generation(None, max_bytes)

    def get(self, key: Hashable) -> Any:
        """The cached value of a key, or None."""
        generation = self._generation  # read once: another thread may replace it
        version = self._version()
        if version is None or version != generation.version:
            return None
        entry = generation.entries.get(key)
        return entry[0] if entry else None

    def begin(self) -> Generation:
        """Where to put a result. Call this before the database is read."""
        generation, version = self._generation, self._version()
        if version != generation.version:
            generation = self._generation = Generation(version, self._max_bytes)
        return generation


class Generation:
    """Results that were read between one commit and the next, oldest first.

    Each result was read after the version was compared, so it is never older than the version. It may be newer, if
    something was committed meanwhile. But then no reader uses this generation any more.
    """

    __slots__ = ("_bytes", "_lock", "_max_bytes", "entries", "version")

    def __init__(self, version: bytes | None, max_bytes: int) -> None:
        self.version = version
        self.entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._max_bytes = max_bytes
        # For `put`. A read needs no lock.
        self._lock = Lock()

    def put(self, key: Hashable, value: Any, content: bytes | None) -> None:
        """Add a result that was read after `begin` has returned this generation."""
        size = OVERHEAD + len(content or b"")
        if size > MAX_ENTRY or self.version is None:
            return
        with self._lock:
            if key in self.entries:
                return
            self.entries[key] = value, size
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, size) = self.entries.popitem(last=False)
                self._bytes -= size
