"""Heartbeats of a worker, over a pipe to its parent: they say that its event loop runs, and when it began to serve.

A frozen worker (SIGSTOP, a blocked event loop) answers nothing, and may hold locks that the others need; only its
silence shows that. The parent measures silence in ticks of its own. No ticks pass on a machine that is suspended, or in
a parent that is stopped, so no worker is killed for having been asleep.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Final

__all__ = ["BEAT_S", "SILENCE_S", "Heart", "Pulse"]

BEAT_S: Final = 1.0
"""Seconds between two heartbeats of a worker, and between two ticks of the parent."""

SILENCE_S: Final = 20.0
"""How long a worker may send no heartbeat before it is killed and replaced. An event loop that serves is blocked for
milliseconds; 20 seconds allow for a machine so busy that a process does not run for seconds."""

_BEAT: Final = b"."
_SERVES: Final = b"1"


class Heart:
    """The worker's end of the pipe.

    Args:
        fd: of the pipe. It becomes non-blocking, since a frozen parent must not block the worker.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        os.set_blocking(fd, False)

    def serves(self) -> None:
        """Tell the parent that this worker answers requests."""
        self._send(_SERVES)

    async def beat(self) -> None:
        """Send heartbeats for as long as the event loop runs."""
        while True:
            self._send(_BEAT)
            await asyncio.sleep(BEAT_S)

    def _send(self, byte: bytes) -> None:
        # The pipe is full, or the parent is gone, which ends the worker by another pipe.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, byte)


class Pulse:
    """The parent's end of the pipe. It needs a running event loop.

    Args:
        fd: of the pipe; it is closed here.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ticks: int | None = None
        self._loop = asyncio.get_running_loop()
        self.serving: asyncio.Future[bool] = self._loop.create_future()
        """Whether the worker began to serve; False if it ended before, with all that had its end of the pipe."""
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._on_bytes)

    def tick(self) -> float:
        """Count that `BEAT_S` has passed.

        Returns:
            For how many seconds the worker has sent no heartbeat; 0 while it starts or ends.
        """
        if self._ticks is None:
            return 0.0
        self._ticks += 1
        return self._ticks * BEAT_S

    def close(self) -> None:
        """Stop listening."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _on_bytes(self) -> None:
        received = os.read(self._fd, 4096)
        self._ticks = 0 if received else None
        if not self.serving.done() and (_SERVES in received or not received):
            self.serving.set_result(bool(received))
        if not received:
            self.close()
