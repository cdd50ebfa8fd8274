"""A map with a bounded number of entries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["LRU"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LRU(Generic[Key, Value]):
    """Evicts the entry that was least recently read or written. For the event loop; other threads may `peek`.

    Args:
        limit: the most entries.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value of a key, or None. This counts as a use."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def peek(self, key: Key) -> Value | None:
        """The value of a key, or None, in any thread. This does not count as a use."""
        return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Set the value of a key."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def pop(self, key: Key) -> Value | None:
        """Remove a key. Returns its value, or None."""
        return self._entries.pop(key, None)

    def clear(self) -> None:
        """Remove all keys."""
        self._entries.clear()

    def items(self) -> list[tuple[Key, Value]]:
        """All entries, the least recently used one first. This does not count as a use."""
        return list(self._entries.items())
