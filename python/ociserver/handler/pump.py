"""Gives the pieces of a body to a sink, without the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ociserver.backlog import call_threadsafe
from ociserver.handler.callbacks import ThreadSafeCallback
from ociserver.types import Message, Receive

if TYPE_CHECKING:
    from ociserver.handler.deadlines import Deadlines
    from ociserver.interface import Sink

__all__ = ["MAX_RUN_S", "Pump"]

MAX_RUN_S: Final = 1.0
"""Seconds after which the pump ends, so that the writer can check the upload, as it does after each piece without a
pump."""


class Pump(ThreadSafeCallback):
    """Receives a body and gives its pieces to a sink, in the thread of the server that finishes the futures.

    A piece that goes through the event loop wakes the loop twice, and takes the GIL twice more. The pump wakes the
    event loop only at its end: at the end of the body, after an error of the sink, or after `max_run_s`. It also does
    so when the sink has worked off its backlog, because only the event loop may call `receive` at any time.

    Args:
        receive: the `receive` of a server whose futures have callbacks.
        future: the future of the first piece, which is being received.
        take: returns the bytes of a message, and whether they are the last.
        gather: bytes below which pieces are joined.
        sink: gets the pieces.
        max_run_s: seconds after which the pump ends.
    """

    def __init__(
        self,
        receive: Receive,
        future: Any,
        take: Callable[[Message], tuple[bytes, bool]],
        gather: int,
        sink: Sink,
        max_run_s: float = MAX_RUN_S,
    ) -> None:
        self._receive = receive
        self._future = future
        self._take = take
        self._gather = gather
        self._sink = sink
        self._held: list[bytes] = []
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.Future[None] | None = None
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._until = time.monotonic() + max_run_s
        # When the wait for the client began; None while nothing is received.
        self._since: float | None = None

    async def run(self, deadlines: Deadlines, idle_s: float) -> None:
        """Go on until it ends.

        Raises:
            TimeoutError: the client has sent nothing for `idle_s`.
        """
        self._listen()
        try:
            while not self._ended:
                since = self._since
                left = idle_s if since is None else since + idle_s - time.monotonic()
                if left <= 0 and self._future is not None and self._future.cancel():
                    # Nothing more comes after the cancellation, so what is held is the rest.
                    self._add()
                    raise TimeoutError
                self._wake = self._loop.create_future()
                with contextlib.suppress(TimeoutError), deadlines.within(max(left, 0)):
                    await self._wake
        finally:
            self._stopped = True
            if self._future is not None:
                self._future.cancel()
        if self._error is not None:
            raise self._error

    def __call__(self, future: Any, /) -> None:
        # The future keeps its callback. Without this, the two would form a reference cycle.
        self._future = None
        self._since = None
        if self._stopped:
            return
        self._or_end(lambda: self._give(*self._take(future.result())))

    def _give(self, piece: bytes, is_last: bool) -> None:  # noqa: FBT001  # the result of `take`
        self._held.append(piece)
        self._size += len(piece)
        is_over = is_last or time.monotonic() >= self._until
        left: int | None = 0
        if self._size >= self._gather or is_over:
            left = self._add()
        if is_last:
            # The end of the body is reported only when everything is kept, because the request waits for both.
            self._sink.when_kept(self._end)
        elif is_over or left is None:
            self._end()
        elif left > self._sink.high_water_mark:
            self._sink.when_left(self._sink.high_water_mark // 2, self._go_on)
        else:
            self._next()

    def _add(self) -> int | None:
        held, self._held, self._size = self._held, [], 0
        return self._sink.add(b"".join(held))

    def _next(self) -> None:
        if self._stopped:
            return
        future = self._receive()
        if asyncio.isfuture(future):
            self._future = future
            self._listen()
        else:
            # granian knows the result already, for example that the client has disconnected. The next call repeats it.
            self._end()

    def _listen(self) -> None:
        self._since = time.monotonic()
        self._future.add_done_callback(self)

    def _go_on(self) -> None:
        call_threadsafe(self._loop, lambda: self._or_end(self._next))

    def _or_end(self, go_on: Callable[[], None]) -> None:
        try:
            go_on()
        except BaseException as error:
            self._error = error
            self._end()

    def _end(self) -> None:
        call_threadsafe(self._loop, self._finish)

    def _finish(self) -> None:
        self._ended = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
