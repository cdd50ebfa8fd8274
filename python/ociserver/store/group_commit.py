"""The queue of the writer thread, and how many transactions it takes for one commit (group commit)."""

from __future__ import annotations

import contextlib
import queue
import time
from typing import Final, Generic, TypeVar

__all__ = ["GATHER_S", "MAX_GROUP", "GroupQueue"]

Item = TypeVar("Item")

MAX_GROUP: Final = 256
"""The most transactions in one commit: enough for a slow disk, and few enough that none waits long."""

GATHER_S: Final = 0.001
"""Seconds that a group waits for as many transactions as the last one had. A commit and its sync cost the same
processor time for one transaction as for many: with 1 ms, 8 clients pushed 1.3 times as many small images, with 0.3 ms
1.05 times."""


class GroupQueue(Generic[Item]):
    """A queue that one thread takes group by group.

    A client that waits for a commit sends its next request soon after it. So a group waits up to `gather_s` until it is
    as large as the last one. Each time that this does not happen, the next group expects one item less. A single client
    never waits.

    Args:
        gather_s: seconds that a group waits.
        max_group: the most items in a group.
    """

    def __init__(self, gather_s: float = GATHER_S, max_group: int = MAX_GROUP) -> None:
        self.gather_s = gather_s
        self._max_group = max_group
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._expected = 1

    def put(self, item: Item) -> None:
        """Add an item, in any thread."""
        self._queue.put(item)

    def end(self) -> None:
        """Add an end: the group before it is the last one."""
        self._queue.put(None)

    def drain(self) -> list[Item]:
        """Take all items out of the queue, in any thread. An end stays."""
        items: list[Item] = []
        ended = False
        with contextlib.suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if item is None:
                    ended = True
                else:
                    items.append(item)
        if ended:
            self.end()
        return items

    def next_group(self) -> tuple[list[Item], bool]:
        """Wait for at least one item, and take a group. Also returns whether the queue has ended."""
        group: list[Item] = []
        item = self._queue.get()
        deadline = time.monotonic() + self.gather_s
        while item is not None:
            group.append(item)
            if len(group) == self._max_group:
                break
            # Items that are in the queue already are taken in any case.
            wait = deadline - time.monotonic() if len(group) < self._expected else 0.0
            try:
                item = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
        self._expected = max(len(group), self._expected - 1)
        return group, item is None
