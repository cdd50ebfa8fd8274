"""What was promised, and what is being deleted."""

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
"""Paths, and how many deletions of each had ended when a client began to rely on it."""


RECENT: Final = 30
"""Number of deleted images to remember: those of the last seconds, which collection is cleaning up."""


@dataclass(frozen=True, slots=True)
class Promise:
    """An image that the server has acknowledged, and the paths that it relies on."""

    image: Image
    mark: Mark


class Ledger:
    """Shared by all clients. It names deleted contents by the path of the DELETE request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._promises: list[Promise] = []
        self._deleted: deque[Image] = deque(maxlen=RECENT)

    def __len__(self) -> int:
        """Number of promises, including some that may no longer hold."""
        return len(self._promises)

    @contextmanager
    def deleting(self, path: str) -> Iterator[None]:
        """Within this block, the content at the path may disappear. Moving a tag deletes it from its old manifest."""
        with self._lock:
            self._begun[path] += 1
        try:
            yield
        finally:
            with self._lock:
                self._ended[path] += 1

    def mark(self, paths: Iterable[str], *, own: int = 0) -> Mark:
        """Begin to rely on these paths. `own` deletions of each are in progress and do not count."""
        with self._lock:
            return {path: self._ended[path] + own for path in paths}

    def holds(self, mark: Mark) -> bool:
        """Whether no client was deleting any of these paths, at the time of the mark or since."""
        with self._lock:
            return self._holds(mark)

    def promise(self, promise: Promise) -> None:
        with self._lock:
            self._promises.append(promise)

    def choose(self, dice: random.Random) -> Promise | None:
        """A random promise that holds."""
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
        """Record that an image or its tag was deleted."""
        with self._lock:
            self._deleted.append(image)

    def choose_deleted(self, dice: random.Random) -> Image | None:
        """A random image of the recently deleted ones."""
        with self._lock:
            return dice.choice(self._deleted) if self._deleted else None

    def promises(self) -> list[Promise]:
        """All promises that hold."""
        with self._lock:
            return [promise for promise in self._promises if self._holds(promise.mark)]

    def _holds(self, mark: Mark) -> bool:
        return all(self._begun[path] == count for path, count in mark.items())
