"""A file whose content is read again when it changes, also if Kubernetes replaces a symbolic link."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["CHECK_EVERY_S", "WatchedFile"]

CHECK_EVERY_S: Final = 1.0
"""Seconds between two looks at the file. A look costs microseconds, but on a network file system much more."""

SETTLED_AFTER_NS: Final = 2_000_000_000
"""Nanoseconds after a change for which its time stamp proves nothing: a second change within the resolution of the file
system's clock leaves the same stamps. FAT has the coarsest clock, 2 s. The file is read again until then."""

_ATTEMPTS: Final = 3
"""Attempts to read a file that somebody writes at this moment."""

_Fingerprint = tuple[int, int, int, int, int]


class WatchedFile:
    """A small file. For one thread.

    Args:
        path: of the file. Symbolic links are followed at each look.
        max_size: bytes that the file may have.
        check_every_s: seconds between two looks.
        clock: seconds of a clock that never goes back.
        wall_ns: nanoseconds of the clock of the file system.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_size: int,
        check_every_s: float = CHECK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = path
        self._max_size = max_size
        self._check_every_s = check_every_s
        self._clock = clock
        self._wall_ns = wall_ns
        self._next_check = 0.0
        self._seen: _Fingerprint | None = None
        self._failed: _Fingerprint | int | None = None
        self._digest = b""

    def read(self) -> bytes:
        """The content.

        Raises:
            OSError: the file is missing or cannot be read.
            ValueError: it is larger than allowed, no regular file, or changes all the time.
        """
        self._next_check = self._clock() + self._check_every_s
        content, fingerprint = self._read()
        self._seen = fingerprint if self._is_settled(fingerprint) else None
        self._failed = None
        self._digest = hashlib.sha256(content).digest()
        return content

    def changed(self) -> bytes | None:
        """The content if it has changed since it was last returned. None: it has not, or it is too early to look again.

        Raises:
            OSError, ValueError: as `read`, but once until the state of the file changes. Meanwhile None.
        """
        now = self._clock()
        if now < self._next_check:
            return None
        self._next_check = now + self._check_every_s
        state: _Fingerprint | int
        try:
            state = _fingerprint(os.stat(self.path))
        except OSError as error:
            state = error.errno or -1
        if state == self._seen:
            return None
        before = self._digest
        try:
            content = self.read()
        except (OSError, ValueError):
            # The next look tries again: the error may have been of the moment.
            self._seen = None
            if state == self._failed:
                return None
            self._failed = state
            raise
        return content if self._digest != before else None

    def _read(self) -> tuple[bytes, _Fingerprint]:
        for _ in range(_ATTEMPTS):
            # Opening a pipe would wait for its writer.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                before = os.fstat(descriptor)
                if not stat.S_ISREG(before.st_mode):
                    raise ValueError("it is not a regular file")
                with open(descriptor, "rb", closefd=False) as file:
                    content = file.read(self._max_size + 1)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            if len(content) > self._max_size:
                raise ValueError(f"it is larger than {self._max_size} bytes")
            if _fingerprint(before) == _fingerprint(after):
                return content, _fingerprint(after)
        raise ValueError("it changes while it is read")

    def _is_settled(self, fingerprint: _Fingerprint) -> bool:
        # Every change sets st_ctime, and nobody can set it to another time.
        return self._wall_ns() - fingerprint[-1] > SETTLED_AFTER_NS


def _fingerprint(status: os.stat_result) -> _Fingerprint:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
