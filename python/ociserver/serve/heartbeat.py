"""Heartbeats of a worker, over a pipe to its parent: that its event loop turns, and when it began to serve.

A worker that stands still (SIGSTOP, an event loop that is blocked) answers nothing, and may hold locks that the others
need; only its silence tells. The parent counts that in ticks of its own: on a machine that was suspended, and in a
parent that was stopped, no ticks pass either, so that nobody is killed for having slept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

__all__ = ["BEAT_S", "SILENCE_S", "Heart", "Pulse"]

BEAT_S: Final = 1.0
"""Seconds between two beats of a worker, and between two ticks of the parent."""

SILENCE_S: Final = 20.0
"""How long a worker may be silent before it is killed and replaced. An event loop that serves is blocked for
milliseconds; this is for a machine so busy that a process does not run for seconds."""

_BEAT: Final = b"."
_SERVES: Final = b"1"


class Heart:
    """The worker's end.

    Args:
        fd: of the pipe; it is made non-blocking, since a parent that stands still must not stop the worker.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

    def serves(self) -> None:
        """Tell that requests are answered."""
        self._send(_SERVES)

    async def beat(self) -> None:
        """Tell that the event loop turns, for as long as it does."""
        while True:
            self._send(_BEAT)
            await asyncio.sleep(BEAT_S)

    def _send(self, byte: bytes) -> None:
        # The pipe is full, or the parent has gone, which ends the worker by another pipe.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, byte)


class Pulse:
    """The parent's end; needs a running event loop.

    Args:
        fd: of the pipe, which is closed here.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ticks: int | None = None
        self._loop = asyncio.get_running_loop()
        self.serving: asyncio.Future[bool] = self._loop.create_future()
        """Whether it came to serve requests; False when the worker has gone, with all that have its end of the pipe."""
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._on_bytes)

    def tick(self) -> float:
        """Let `BEAT_S` pass; for how long the worker has been silent. One that is starting or ending is not."""
        if self._ticks is None:
            return 0.0
        self._ticks += 1
        return self._ticks * BEAT_S

    def close(self) -> None:
        """Listen no more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _on_bytes(self) -> None:
        told = os.read(self._fd, 4096)
        self._ticks = 0 if told else None
        if not self.serving.done() and (_SERVES in told or not told):
            self.serving.set_result(bool(told))
        if not told:
            self.close()
