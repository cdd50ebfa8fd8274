"""The size of a cache's folder on the disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FILES = ("registry.", "tidying.")


def taken(folder: Path) -> int:
    """Bytes of all files except the databases, from the file system."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.startswith(_FILES):
                continue
            try:
                total += os.stat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # deleted in the meantime
    return total


class Peak:
    """The maximum size so far."""

    bytes = 0


@contextmanager
def watched(folder: Path, every_s: float = 0.02) -> Iterator[Peak]:
    """Measure a folder repeatedly, in a thread, until the block ends."""
    peak, stop = Peak(), threading.Event()

    def watch() -> None:
        while not stop.wait(every_s):
            peak.bytes = max(peak.bytes, taken(folder))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def eventually_below(folder: Path, bound: int, seconds: float = 20) -> int:
    """The size of a folder, when it is within this bound or the time is over."""
    deadline = time.monotonic() + seconds
    while (found := taken(folder)) > bound and time.monotonic() < deadline:
        time.sleep(0.05)
    return found
