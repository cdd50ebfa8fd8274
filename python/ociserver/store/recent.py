"""Answers of the database that are kept in memory until anything is committed.

Not by time and not by key: whatever any process commits empties it, so that what is found here is what the
database would answer now. That costs a registry under writes nothing but the keeping, and makes reading
from one that rests, which is what registries mostly do, three times as fast.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Final

__all__ = ["Recent"]

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of contents and what it takes to hold them, in each process."""

MAX_ENTRY: Final = 64 * 1024
"""Larger contents are not kept: reading them costs more than finding them."""

OVERHEAD: Final = 1024
"""Bytes that an entry takes besides its content: its key, a descriptor, their strings."""


class Recent:
    """What was read since the last commit, oldest first.

    Args:
        version: of the database, equal for as long as nothing is committed; None where that cannot be told.
    """

    def __init__(self, version: Callable[[], bytes | None]) -> None:
        self._current = version
        self._version: bytes | None = None
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Any:
        """What was kept, or None."""
        version = self._current()
        if version == self._version and version is not None:
            entry = self._entries.get(key)
            return entry[0] if entry else None
        # In this order, for `peek`: what it finds is never older than the version that it compared.
        self._entries.clear()
        self._version = version
        self._bytes = 0
        return None

    def peek(self, key: Hashable) -> Any:
        """What was kept, or None. From any thread: it changes nothing, so that what `get` began, `put` can end."""
        version = self._current()
        if version is None or version != self._version:
            return None
        entry = self._entries.get(key)
        return entry[0] if entry else None

    def put(self, key: Hashable, value: Any, content: bytes | None) -> None:
        """Keep what was read after `get` found nothing, if nothing was committed since."""
        size = OVERHEAD + len(content or b"")
        if size > MAX_ENTRY or self._version is None or self._current() != self._version or key in self._entries:
            return
        self._entries[key] = value, size
        self._bytes += size
        while self._bytes > MAX_BYTES:
            _, (_, size) = self._entries.popitem(last=False)
            self._bytes -= size
