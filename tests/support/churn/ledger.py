"""What was promised, and who is at work on what."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.support.churn.image import Image

Mark = dict[str, int]
"""Paths, and how many deletions of each had begun, and ended, when somebody began to count on them."""


RECENT: Final = 30
"""Deleted images that are remembered: those of the last second or two, whose leavings collection is just at."""


@dataclass(frozen=True, slots=True)
class Promise:
    """An image that was acknowledged, and what it counts on."""

    image: Image
    mark: Mark


class Ledger:
    """Shared by all clients. Whatever is deleted is named by the path that it is deleted by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._promises: list[Promise] = []
        self._deleted: deque[Image] = deque(maxlen=RECENT)

    def __len__(self) -> int:
        """How many promises, perhaps with some that hold no longer."""
        return len(self._promises)

    @contextmanager
    def deleting(self, path: str) -> Iterator[None]:
        """Within this block, what is at the path may go; a tag that is moved goes too, from what it was at."""
        with self._lock:
            self._begun[path] += 1
        try:
            yield
        finally:
            with self._lock:
                self._ended[path] += 1

    def mark(self, paths: Iterable[str], *, own: int = 0) -> Mark:
        """From now on somebody counts on these; `own`: deletions of each that are under way and do not matter."""
        with self._lock:
            return {path: self._ended[path] + own for path in paths}

    def holds(self, mark: Mark) -> bool:
        """Whether since the mark, and when it was made, nobody was deleting any of it."""
        with self._lock:
            return self._holds(mark)

    def promise(self, promise: Promise) -> None:
        with self._lock:
            self._promises.append(promise)

    def choose(self, dice: random.Random) -> Promise | None:
        """Any promise that holds."""
        with self._lock:
            while self._promises:
                number = dice.randrange(len(self._promises))
                promise = self._promises[number]
                if self._holds(promise.mark):
                    return promise
                self._promises[number] = self._promises[-1]
                self._promises.pop()
        return None

    def remember(self, image: Image) -> None:
        """Note that an image has been deleted, or a tag of it."""
        with self._lock:
            self._deleted.append(image)

    def choose_deleted(self, dice: random.Random) -> Image | None:
        """Any of the last ones."""
        with self._lock:
            return dice.choice(self._deleted) if self._deleted else None

    def promises(self) -> list[Promise]:
        """All that hold."""
        with self._lock:
            return [promise for promise in self._promises if self._holds(promise.mark)]

    def _holds(self, mark: Mark) -> bool:
        return all(self._begun[path] == count for path, count in mark.items())
