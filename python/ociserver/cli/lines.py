"""Writing log lines: in batches, from a thread of its own, so that no request waits for a pipe or a disk.

The queue is bounded: when whoever reads the log is slower than the requests, lines are dropped and
counted, and the log says how many; memory does not grow.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["MAX_LINES", "RESERVE", "LineWriter"]

MAX_LINES: Final = 16_384
"""Most lines that wait: some 6 MB, and what the highest rates measured bring in a third of a second."""

RESERVE: Final = 1_024
"""Further places for lines that are important, such as errors, when the queue is full of others."""

WRITE_SIZE: Final = 4096
"""Lines are joined up to this many bytes for one write. It is PIPE_BUF, the size up to which a write to a
pipe is never torn apart: the lines of several processes that share a log stay whole. And a write lets go of
the GIL, so it bounds how long the event loop can be kept waiting: some 30 lines take 50 microseconds."""

PAUSE_S: Final = 0.05
"""The writer wakes at the first line and then waits this long for others to come: at most 20 times a
second under load, and never when nothing happens."""

RETRY_S: Final = 0.01
"""Between two tries to write to a descriptor that does not block and is full."""

Entry = TypeVar("Entry")


class LineWriter(Generic[Entry]):
    """Writes entries as lines to a file descriptor.

    Args:
        descriptor: an open one; it is not closed.
        line: makes the line of an entry, in the writer's thread.
        dropped: makes the line that says how many were dropped.
    """

    def __init__(self, descriptor: int, line: Callable[[Entry], str], dropped: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._line = line
        self._dropped_line = dropped
        self._entries: deque[Entry] = deque()
        # Changed by any thread, but only where lines are lost.
        self._refused = 0
        self._refusing = threading.Lock()
        # Changed by the writer's thread only.
        self._failed = 0
        self._told = 0
        self._broken = False
        self._closing = False
        self._wake = threading.Event()
        # A daemon: a log that nobody reads must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="ociserver-log", daemon=True)
        self._thread.start()

    def put(self, entry: Entry, *, important: bool = False) -> None:
        """Queue an entry. Never blocks; may be called from any thread."""
        if len(self._entries) >= MAX_LINES + (RESERVE if important else 0):
            with self._refusing:
                self._refused += 1
            return
        self._entries.append(entry)
        # Set only where it is not: setting takes a lock. The writer clears it before it looks into the
        # queue, so an entry that found it set is seen.
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most, and end."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            if not self._closing:
                time.sleep(PAUSE_S)
            self._wake.clear()
            self._empty()
        self._empty()

    def _empty(self) -> None:
        entries = self._entries
        lines: list[bytes] = []
        size = 0
        # What waits now, and not what comes meanwhile: else a queue that is never empty would keep quiet
        # about what it drops.
        for _ in range(len(entries)):
            line = self._line(entries.popleft()).encode(errors="backslashreplace") + b"\n"
            if size + len(line) > WRITE_SIZE and lines:
                self._write(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        if lines:
            self._write(lines)
        lost = self._refused + self._failed
        if lost > self._told:
            line = self._dropped_line(lost - self._told).encode() + b"\n"
            if self._write_all(line):
                self._told = lost

    def _write(self, lines: list[bytes]) -> None:
        if not self._write_all(b"".join(lines)):
            self._failed += len(lines)

    def _write_all(self, data: bytes) -> bool:
        """Whether it was written. Nothing is raised: a registry that serves is worth more than its log."""
        while data and not self._broken:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                time.sleep(RETRY_S)
            except BrokenPipeError:
                # Whoever read the log has gone, and cannot come back.
                self._broken = True
            except OSError:
                # The disk is full, say. It may have room again for the next lines.
                return False
        return not self._broken
