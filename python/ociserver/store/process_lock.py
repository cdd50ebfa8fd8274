"""An exclusive lock between processes, whose wait can be watched and given up.

flock(2) is fair enough and ends with the process that holds it, but it has no timeout: a process that stands still
with the lock keeps a waiting thread in the system call without end. So whoever bounds the wait does so from another
thread: it sees how long the wait has been (`waited_s`), and may close the lock, which leaves the waiting thread behind.
"""

from __future__ import annotations

import enum
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Final

__all__ = ["ProcessLock"]


class _State(enum.Enum):
    CLOSED = enum.auto()
    FREE = enum.auto()
    WAITING = enum.auto()
    """A thread of this process is in flock(2)."""
    HELD = enum.auto()


class ProcessLock:
    """One lock file. One thread at a time takes and releases it; any thread may look and close.

    Two objects on one path exclude each other, in one process too.

    Args:
        path: of the file, which is made if it is missing.
        mode: of the file, where it is made.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, mode: int) -> None:
        self.path: Final = path
        self._mutex = threading.Lock()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        self._state = _State.FREE
        self._since = 0.0
        self._ended = threading.Event()

    def acquire(self) -> bool:
        """Wait for the lock, without a bound. False if it was closed meanwhile: then it is not held."""
        with self._mutex:
            if self._state is _State.CLOSED:
                return False
            self._state, self._since = _State.WAITING, time.monotonic()
        reached = _State.FREE
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            reached = _State.HELD
        finally:
            with self._mutex:
                closed = self._state is _State.CLOSED
                if closed:
                    os.close(self._fd)  # left to this thread, which was using it; that releases the lock too
                else:
                    self._state = reached
        return not closed

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it."""
        with self._mutex:
            if self._state is _State.CLOSED:
                return False
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._state = _State.HELD
            return True

    def acquire_within(self, seconds: float) -> bool:
        """Wait for the lock for so long, or until it is closed.

        After False a thread still waits: the only use left is `close`.
        """
        if self.try_acquire():
            return True
        threading.Thread(target=self._acquire_and_tell, name="ociserver-lock", daemon=True).start()
        self._ended.wait(seconds)
        with self._mutex:
            return self._state is _State.HELD

    def _acquire_and_tell(self) -> None:
        self.acquire()
        self._ended.set()

    def release(self) -> None:
        """Let go of the lock; whoever waits gets it."""
        with self._mutex:
            if self._state is _State.HELD:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
                self._state = _State.FREE

    def waited_s(self) -> float | None:
        """Seconds for which a thread has been waiting; None if none is."""
        with self._mutex:
            return time.monotonic() - self._since if self._state is _State.WAITING else None

    def close(self) -> None:
        """Release the lock, and take no more. A thread that is waiting gets False, whenever the lock comes to it."""
        with self._mutex:
            state, self._state = self._state, _State.CLOSED
            self._ended.set()
            if state in (_State.FREE, _State.HELD):
                os.close(self._fd)
