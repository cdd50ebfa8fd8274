"""A request's body: read with bounded memory, one event ahead of its consumer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

from ociserver.errors import HTTPError, OCIError
from ociserver.handler.deadlines import Deadlines
from ociserver.handler.pace import Pace
from ociserver.handler.pump import Pump, join
from ociserver.types import Message, Receive

if TYPE_CHECKING:
    from ociserver.interface import OpenSink

__all__ = ["CHUNK_SIZE", "Body", "ClientDisconnectedError", "TinyPiecesError"]

CHUNK_SIZE: Final = 128 * 1024
"""Bytes below which what comes is joined before a backend sees it, so that hashing and writing pay for a thread
switch (some 40 microseconds). granian's events of about 200 KiB pass as they are: joined to 512 KiB, copying
them cost more than the switches that it saved (256 MiB into memory: 735 MB/s against 960, 386 ms of processor
time against 302). While a piece is consumed the next event is received, which is worth another 8 to 13 %."""

IDLE_TIMEOUT_S: Final = 60.0
"""A client that sends nothing for this long is given up; as long as bytes come, a body may take for ever."""

DRAIN_IDLE_S: Final = 5.0
DRAIN_TOTAL_S: Final = 30.0
"""How long a body is still read after the answer has been sent, so that a client that does not look at the
answer before it has sent everything gets it, and not a reset (nginx: lingering_timeout, lingering_time)."""


MAX_TINY_EVENTS: Final = 1_000
LEAST_AVERAGE: Final = 64
"""Events of a body after which it is given up, and its connection closed, if they have brought fewer bytes than this on
average. A server makes an event of each HTTP chunk, which costs 40 microseconds whatever is in it: 512 KiB in chunks of
a byte took 20 s of processor time. Clients send kilobytes in a chunk, or 240 bytes at least (a compressor of Go's
without a buffer)."""

FREE_EVENTS: Final = 100
TINY_EVENTS_PER_S: Final = 2_000
"""Events of such a body that are received as they come, and how many more in a second, of all bodies together: a client
that comes back each time that it is given up then takes a tenth of a core, and not all of it."""


class TinyPiecesError(HTTPError):
    """The body comes in pieces that cost much more than they carry."""

    def __init__(self) -> None:
        super().__init__(
            400,
            f"the body comes in pieces of less than {LEAST_AVERAGE} bytes on average: send larger chunks, or a "
            "Content-Length",
        )


class ClientDisconnectedError(HTTPError):
    """The body ended before its end: the client went away, or sent a malformed chunk (servers tell neither apart)."""

    def __init__(self) -> None:
        super().__init__(400, "the body ended early: the connection was closed, or a chunk was malformed")


class Body:
    """The body of one request. Iterate it for pieces of `CHUNK_SIZE` or more, or `read` it whole."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes], deadlines: Deadlines, pace: Pace) -> None:
        self._receive = receive
        self._deadlines = deadlines
        self._pace = pace
        self.received = 0
        length = headers.get(b"content-length")
        self.length = int(length) if length is not None and length.isdigit() else None
        chunked = b"transfer-encoding" in headers
        self._announced = bool(self.length) or chunked
        # Where it ends, if that is known: granian says so in one more message, which takes as long as one with bytes.
        self._end = None if chunked else self.length
        self._begun = False
        # Such a client sends nothing before it is asked to, which the first receive() does (RFC 9110, 10.1.1).
        self._waits = headers.get(b"expect", b"").lower() == b"100-continue"
        self._ended = self._end == 0
        self._events = 0
        self._ahead: asyncio.Future[Message] | None = None
        self._failure: HTTPError | None = None

    @property
    def pending(self) -> bool:
        """Whether the client is sending a body of which some may still come (RFC 9112, 6.3)."""
        return self._announced and not self._ended and (self._begun or not self._waits)

    @property
    def abandoned(self) -> bool:
        """Whether the rest of the body is never read, so that the connection cannot be used again."""
        return isinstance(self._failure, TinyPiecesError)

    def close(self) -> None:
        """Let go of what went wrong.

        It refers to the body by its traceback: in that circle the server's side of the body would live on, and the
        connection with it, until Python looks for circles.
        """
        self._failure = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._gather()
        if not piece:
            if self._failure:
                raise self._failure
            raise StopAsyncIteration
        if not self._ended:
            # The next event is received while this piece is hashed and written: granian begins when it is asked, and
            # gives a future, so that it takes no task.
            self._ahead = asyncio.ensure_future(self._receive())
        return piece

    async def give(self, open_sink: OpenSink) -> None:
        """Give what comes to a sink, past the event loop where the server lets it; the rest is still to be iterated."""
        # Where nothing comes nothing is to be opened, and without a length that is not known before it has come.
        if self._ended or not (self.length or self._begun) or self._is_tiny:
            return
        # Before it is asked for: what is refused need not be sent.
        sink = await open_sink()
        if sink is None:
            return
        self._begun = True
        if self._ahead is None:
            self._ahead = asyncio.ensure_future(self._receive())
        # Of a server that gives a coroutine, which the event loop has to run, it is a task.
        if isinstance(self._ahead, asyncio.Task):
            return
        ahead, self._ahead = self._ahead, None
        pump = Pump(self._receive, ahead, self._take_unpaced, CHUNK_SIZE, sink)
        try:
            await pump.run(self._deadlines, IDLE_TIMEOUT_S)
        except TimeoutError:
            self._fail(_too_slow(IDLE_TIMEOUT_S))

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            OCIError: SIZE_INVALID/413 if it is longer than `limit` bytes.
        """
        too_large = OCIError("SIZE_INVALID", f"the content is larger than {limit} bytes", status=413)
        if self.length is not None and self.length > limit:
            raise too_large
        pieces: list[bytes] = []
        while not self._ended:
            pieces.append(await self._event(IDLE_TIMEOUT_S))
            if self.received > limit:
                raise too_large
        if self._failure:
            raise self._failure
        return join(pieces)

    async def drain(self) -> None:
        """Read and forget the rest, within bounds of time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_TOTAL_S):
                while not self._ended:
                    await self._event(DRAIN_IDLE_S)

    async def disconnected(self) -> None:
        """Wait until the client goes away, or is given up, forgetting what it may still send."""
        while self._failure is None:
            self._take(await self._receive())
            self._ended = True

    async def _gather(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while size < CHUNK_SIZE and not self._ended:
            piece = await self._event(IDLE_TIMEOUT_S)
            pieces.append(piece)
            size += len(piece)
        return join(pieces)

    async def _event(self, timeout_s: float) -> bytes:
        if self._is_tiny:
            await self._pace.turn()
        try:
            self._begun = True
            with self._deadlines.within(timeout_s):
                ahead, self._ahead = self._ahead, None
                message = await (self._receive() if ahead is None else ahead)
        except TimeoutError:
            # Kept for later, and not raised: what came before it is still worth storing.
            self._fail(_too_slow(timeout_s))
            return b""
        return self._take(message)[0]

    def _take(self, message: Message) -> tuple[bytes, bool]:
        """The bytes of a message, and whether they are the last. In any thread, one at a time."""
        if message["type"] != "http.request":
            self._fail(ClientDisconnectedError())
            return b"", True
        piece: bytes = message.get("body", b"")
        self.received += len(piece)
        self._events += 1
        self._ended = not message.get("more_body", False) or self.received == self._end
        if self._is_tiny and self._events > MAX_TINY_EVENTS:
            self._fail(TinyPiecesError())
        return piece, self._ended

    def _take_unpaced(self, message: Message) -> tuple[bytes, bool]:
        """The same for a pump, which ends where a body has to be held back."""
        piece, is_last = self._take(message)
        return piece, is_last or self._is_tiny

    @property
    def _is_tiny(self) -> bool:
        """Whether what is still to come will cost much more than it carries, as what has come."""
        return not self._ended and self._events > FREE_EVENTS and self.received < self._events * LEAST_AVERAGE

    def _fail(self, failure: HTTPError) -> None:
        self._ended = True
        self._failure = failure


def _too_slow(timeout_s: float) -> HTTPError:
    return HTTPError(408, f"no byte of the body came for {timeout_s:g} seconds")
