"""Answers of the database that are kept in memory until anything is committed.

Not by time and not by key: whatever any process commits empties it, so that what is found here is what the
database would answer now. That costs a registry under writes nothing but the keeping, and makes reading
from one that rests, which is what registries mostly do, three times as fast.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Final

__all__ = ["Generation", "ReadCache"]

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of contents and what it takes to hold them, in each process."""

MAX_ENTRY: Final = 64 * 1024
"""Larger contents are not kept: reading them costs more than finding them."""

OVERHEAD: Final = 1024
"""Bytes that an entry takes besides its content: its key, a descriptor, their strings."""


class ReadCache:
    """What was read since the last commit. Any thread may look and keep.

    Args:
        version: of the database, equal for as long as nothing is committed; None where that cannot be told.
    """

    def __init__(self, version: Callable[[], bytes | None]) -> None:
        self._version = version
        self._generation = Generation(None)

    def get(self, key: Hashable) -> Any:
        """What was kept, or None."""
        generation = self._generation  # once: another thread may put the next one in its place
        version = self._version()
        if version is None or version != generation.version:
            return None
        entry = generation.entries.get(key)
        return entry[0] if entry else None

    def begin(self) -> Generation:
        """Where to keep what is read from now on; to be asked for before it is read."""
        generation, version = self._generation, self._version()
        if version != generation.version:
            generation = self._generation = Generation(version)
        return generation


class Generation:
    """What was read since one commit and until the next, oldest first.

    What comes in was read after the version was looked at, so that it is never older. It may be newer: then something
    was committed meanwhile, and nobody looks for it here any more.
    """

    __slots__ = ("_bytes", "_lock", "entries", "version")

    def __init__(self, version: bytes | None) -> None:
        self.version = version
        self.entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        # Around what is counted; to look needs none.
        self._lock = Lock()

    def put(self, key: Hashable, value: Any, content: bytes | None) -> None:
        """Keep what was read after `begin` gave this."""
        size = OVERHEAD + len(content or b"")
        if size > MAX_ENTRY or self.version is None:
            return
        with self._lock:
            if key in self.entries:
                return
            self.entries[key] = value, size
            self._bytes += size
            while self._bytes > MAX_BYTES:
                _, (_, size) = self.entries.popitem(last=False)
                self._bytes -= size
