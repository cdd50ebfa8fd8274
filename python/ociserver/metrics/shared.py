"""The numbers of all processes of a server, in one piece of shared memory.

Each process has a place in it, and only that process writes there. A worker that replaces one that ended takes over its
place and continues its numbers. So a counter never goes back, also after a `kill -9`, and a scrape costs the same
however many workers have been replaced. The process that answers a scrape adds up the places.

prometheus_client's own mode for several processes leaves a file for each process that ever ran, and takes 7 µs to count
a request, instead of 0.4 (`benches/NOTES.md`).

All numbers are doubles: exact for counters up to 2^53, and aligned, so that a reader never sees half of one.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

from ociserver._core import RequestRow
from ociserver.metrics.declared import COUNTED, DURATION_BUCKETS

__all__ = [
    "KEY",
    "LAST_ROW",
    "OFFSETS",
    "PID",
    "ROWS",
    "ROW_WIDTH",
    "Shared",
    "rows_of",
]

MAX_ROWS: Final = 512
"""Combinations of method, kind and status that a process can count: with 18 kinds, about 25 statuses each. The last row
is for all further ones, which only a `write_error` of one's own could cause."""

KEY: Final = 0
"""Position of the key of a row. `RequestRow` has the other positions."""
ROW_WIDTH: Final = RequestRow.BUCKETS + len(DURATION_BUCKETS) + 1

PID: Final = 0
"""Position of the process id of a place; 0: nobody has it."""

_FIXED: Final = 1


def _offsets() -> dict[tuple[str, tuple[str, ...]], int]:
    offsets, at = {}, _FIXED
    for metric in COUNTED:
        for labels in metric.series():
            offsets[metric.name, labels] = at
            at += metric.width
    return offsets


OFFSETS: Final = _offsets()
"""Position of each series of the declared metrics, by name and values of labels."""

ROWS: Final = max(OFFSETS.values()) + 1 + max(metric.width for metric in COUNTED)
"""Position of the first row of requests."""

LAST_ROW: Final = ROWS + (MAX_ROWS - 1) * ROW_WIDTH
"""Position of the last row."""

_WIDTH: Final = ROWS + MAX_ROWS * ROW_WIDTH
_SIZE: Final = 8
"""Bytes of a double."""


class Shared:
    """The memory. The first process makes it with `create`, and its workers use it with `attach`.

    Args:
        descriptor: of a file of the right size. It stays open.
        places: number of processes.
    """

    def __init__(self, descriptor: int, places: int) -> None:
        self.descriptor = descriptor
        self.places = places
        self._memory = memoryview(mmap.mmap(descriptor, places * _WIDTH * _SIZE)).cast("d")

    @classmethod
    def create(cls, places: int) -> Shared:
        """New memory, with zeros."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("ociserver-metrics")
        else:
            descriptor, path = tempfile.mkstemp(prefix="ociserver-metrics-")
            os.unlink(path)
        os.ftruncate(descriptor, places * _WIDTH * _SIZE)
        return cls(descriptor, places)

    def place(self, number: int) -> memoryview[float]:
        """The numbers of one process."""
        return self._memory[number * _WIDTH : (number + 1) * _WIDTH]


def rows_of(place: memoryview[float]) -> list[tuple[int, int]]:
    """The keys and the positions of the rows of requests that a place has."""
    found: list[tuple[int, int]] = []
    for at in range(ROWS, ROWS + MAX_ROWS * ROW_WIDTH, ROW_WIDTH):
        if not place[at + KEY]:
            break
        found.append((int(place[at + KEY]), at))
    return found
