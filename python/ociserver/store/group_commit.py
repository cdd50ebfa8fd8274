"""What waits for the writer, and how much of it is taken at once."""

from __future__ import annotations

import contextlib
import queue
import time
from typing import Final, Generic, TypeVar

__all__ = ["GATHER_S", "MAX_GROUP", "GroupQueue"]

Item = TypeVar("Item")

MAX_GROUP: Final = 256
"""Works that one transaction takes: enough that a slow disk does not limit, few enough that none waits long."""

GATHER_S: Final = 0.001
"""How long a group waits for those that came with the last one. A commit and its sync cost processor time, however many
share them: with this 8 clients pushed 1.3 times as many small images, with 0.3 ms 1.05 times."""


class GroupQueue(Generic[Item]):
    """A queue that is emptied group by group.

    Who waits for a commit comes again soon after it. So a group is as large as the last one, if that many come
    within `GATHER_S`; each time that they do not, one less is expected. Whoever writes alone never waits.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._expected = 1

    def put(self, item: Item) -> None:
        """Add one, in any thread."""
        self._queue.put(item)

    def end(self) -> None:
        """Let the group be the last that has come so far."""
        self._queue.put(None)

    def drain(self) -> list[Item]:
        """Take everything that is there, in any thread; nobody else gets it. An end stays."""
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
        """Wait for at least one, and take what is there; whether it is the last."""
        group: list[Item] = []
        item = self._queue.get()
        deadline = time.monotonic() + GATHER_S
        while item is not None:
            group.append(item)
            if len(group) == MAX_GROUP:
                break
            # What is there already is taken in any case.
            wait = deadline - time.monotonic() if len(group) < self._expected else 0.0
            try:
                item = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
        self._expected = max(len(group), self._expected - 1)
        return group, item is None
