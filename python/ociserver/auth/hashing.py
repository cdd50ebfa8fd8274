"""Threads that check passwords, with a bounded queue, so that wrong passwords do not take the cores from pulls."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from ociserver._core import usable_cores
from ociserver.errors import OCIError

__all__ = ["NICE", "WAITING", "Hashing", "usable_threads"]

WAITING: Final = 16
"""Passwords that wait for a thread. At 60 ms each, the last one waits for a second. A client that had to wait longer
would rather try again."""


NICE: Final = 19
"""The nice value of the threads: on a core that is busy, they get a seventieth of the time of the others."""


class Hashing:
    """Runs the checks of passwords in threads of its own.

    On Linux the threads have a lower priority than those that serve requests: under load, a sign-in takes longer, and
    pulls go on.

    Args:
        threads: checks that run at the same time.
        waiting: checks that wait beyond that. Each further one is refused.
    """

    def __init__(self, threads: int, waiting: int = WAITING) -> None:
        self._threads = threads
        self._pool = self._new_pool()
        # Freed by the thread itself: a caller that is cancelled leaves a thread behind that still computes.
        self._slots = threading.BoundedSemaphore(threads + waiting)

    async def run(self, verify: Callable[[], bool]) -> bool:
        """The result of a function that blocks, such as the `verify` of a hash with its password.

        Cancelling the caller does not stop the function, nor does it make room for another one before it has ended.

        Raises:
            OCIError: TOOMANYREQUESTS: all threads are busy and the queue is full, or this was closed meanwhile.
        """
        if not self._slots.acquire(blocking=False):
            raise _busy("too many sign-ins at the same time")
        work = self._pool.submit(verify)
        work.add_done_callback(self._release)
        try:
            return await asyncio.shield(asyncio.wrap_future(work))
        except asyncio.CancelledError:
            if work.cancelled():  # by `close`, not by the caller
                raise _busy("the server is stopping") from None
            raise

    async def close(self) -> None:
        """Refuse everything that waits, and wait until the threads have ended. Later checks start new threads."""
        pool, self._pool = self._pool, self._new_pool()
        await asyncio.to_thread(pool.shutdown, cancel_futures=True)

    def _new_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="ociserver-password", initializer=_yield_to_others)

    def _release(self, work: Future[bool]) -> None:
        self._slots.release()


def usable_threads(processes: int = 1) -> int:
    """Threads of each of so many processes: together half of the cores that they may use, and at least one in each.

    The other half serves the clients that have signed in.
    """
    return max(1, usable_cores() // (2 * processes))


def _yield_to_others() -> None:
    if sys.platform == "linux":
        # Linux has a priority for each thread.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _busy(message: str) -> OCIError:
    return OCIError("TOOMANYREQUESTS", message, headers={"Retry-After": "1"})
