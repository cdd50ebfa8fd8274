"""An exclusive lock between processes. Another thread can watch a wait for it, and give the wait up.

flock(2) is fair enough, and the lock ends with the process that holds it. But flock(2) has no timeout: if a process
freezes while it holds the lock, a waiting thread never leaves the system call. So another thread bounds the wait: it
reads how long the wait has taken (`waited_s`), and may close the lock, which abandons the waiting thread.
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
    """One lock file. One thread at a time may acquire and release it. Any thread may call `waited_s` and `close`.

    Two objects with the same path exclude each other, also within one process.

    Args:
        path: of the file, which is created if it is missing.
        mode: permissions of a new file.

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
        """Wait for the lock, without a timeout. False if it was closed meanwhile: then this thread does not hold it."""
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
                    os.close(self._fd)  # `close` has left this to the thread that used it; it also releases the lock
                else:
                    self._state = reached
        return not closed

    def try_acquire(self) -> bool:
        """Acquire the lock if nobody holds it."""
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
        """Wait for the lock for this many seconds, or until it is closed.

        After False, a thread still waits for the lock: only `close` may be called.
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
        """Release the lock."""
        with self._mutex:
            if self._state is _State.HELD:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
                self._state = _State.FREE

    def waited_s(self) -> float | None:
        """Seconds that a thread of this process has waited; None if none is waiting."""
        with self._mutex:
            return time.monotonic() - self._since if self._state is _State.WAITING else None

    def close(self) -> None:
        """Release the lock for good. A thread that is waiting gets False, when the system gives it the lock."""
        with self._mutex:
            state, self._state = self._state, _State.CLOSED
            self._ended.set()
            if state in (_State.FREE, _State.HELD):
                os.close(self._fd)
