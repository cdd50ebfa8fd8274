"""Runs several callables at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

__all__ = ["together"]


def together(works: Iterable[Callable[[], None]]) -> None:
    """Run all of them, each in a thread. Raises the first error of any of them after all have ended."""
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
