"""The body of a request: it is read with bounded memory, one event ahead of its consumer."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from ociserver.errors import HTTPError, OCIError
from ociserver.handler.deadlines import Deadlines
from ociserver.handler.pace import Pace
from ociserver.handler.pump import MAX_RUN_S, Pump
from ociserver.types import Message, Receive

if TYPE_CHECKING:
    from ociserver.interface import OpenSink

__all__ = ["CHUNK_SIZE", "Body", "BodyLimits", "ClientDisconnectedError", "TinyPiecesError"]

CHUNK_SIZE: Final = 128 * 1024
"""Bytes below which pieces are joined before a backend gets them, so that hashing and writing are worth a thread switch
(some 40 microseconds). granian's events of about 200 KiB are passed on unchanged: to join them to 512 KiB cost more for
the copy than it saved in switches (256 MiB into memory: 735 MB/s against 960, 386 ms of processor time against 302).
While a piece is consumed, the next event is received, which makes another 8 to 13 %."""

IDLE_TIMEOUT_S: Final = 60.0
"""Seconds after which a client that sends nothing is answered with 408. While bytes come, a body may take any time."""

DRAIN_IDLE_S: Final = 5.0
DRAIN_TOTAL_S: Final = 30.0
"""Seconds for which the rest of a body is read after the answer: without a byte, and in total. So a client that reads
the answer only after it has sent everything gets the answer, and not a connection reset (nginx: lingering_timeout,
lingering_time)."""

MAX_TINY_EVENTS: Final = 1_000
LEAST_AVERAGE: Final = 64
"""Events after which a body is refused, and its connection is closed, if their average has fewer bytes than
`LEAST_AVERAGE`. A server makes an event of each HTTP chunk, which costs 40 microseconds whatever is in it: 512 KiB in
chunks of one byte took 20 s of processor time. Clients send kilobytes in a chunk, or at least 240 bytes (a compressor
of Go without a buffer)."""

FREE_EVENTS: Final = 100
TINY_EVENTS_PER_S: Final = 2_000
"""Events of such a body that are received without a limit, and after that, the events in a second of all such bodies
together. So a client that comes back each time it is refused takes a tenth of a core, and not a whole one."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits on the time that the body of a request may take, in seconds.

    Args:
        idle_s: without a byte, before the client is answered with 408.
        drain_idle_s: without a byte, while the rest is read after the answer.
        drain_total_s: in total, while the rest is read after the answer.
        pump_s: in which the pieces go to a sink without the event loop, before the writer checks the upload again.
    """

    idle_s: float = IDLE_TIMEOUT_S
    drain_idle_s: float = DRAIN_IDLE_S
    drain_total_s: float = DRAIN_TOTAL_S
    pump_s: float = MAX_RUN_S


class TinyPiecesError(HTTPError):
    """The body comes in pieces that cost much more than they carry."""

    def __init__(self) -> None:
        super().__init__(
            400,
            f"the body comes in chunks of less than {LEAST_AVERAGE} bytes on average: send larger chunks, or a "
            "Content-Length",
        )


class ClientDisconnectedError(HTTPError):
    """The body ended early: the client disconnected, or sent a malformed chunk. Servers do not tell which."""

    def __init__(self) -> None:
        super().__init__(400, "the body ended early: the connection was closed, or a chunk was malformed")


class Body:
    """The body of one request. Iterate it for pieces of `CHUNK_SIZE` or more, or `read` it whole.

    Args:
        receive: receives the next event from the server.
        headers: the headers of the request, with names in lower case.
        deadlines: bounds each wait for an event.
        pace: bounds the events in a second of bodies in tiny pieces.
        limits: the times that the body may take.
    """

    def __init__(
        self,
        receive: Receive,
        headers: dict[bytes, bytes],
        deadlines: Deadlines,
        pace: Pace,
        limits: BodyLimits,
    ) -> None:
        self._receive = receive
        self._deadlines = deadlines
        self._pace = pace
        self._limits = limits
        self.received = 0
        length = headers.get(b"content-length")
        self.length = int(length) if length is not None and length.isdigit() else None
        chunked = b"transfer-encoding" in headers
        self._announced = bool(self.length) or chunked
        # The length, if it is known. granian reports the end in another message, which takes as long as one with bytes.
        self._end = None if chunked else self.length
        self._begun = False
        # Such a client sends nothing before the first receive(), which sends 100 Continue (RFC 9110, 10.1.1).
        self._waits = headers.get(b"expect", b"").lower() == b"100-continue"
        self._ended = self._end == 0
        # Its one piece is not worth a sink, unless opening the sink may refuse the client before it sends the body.
        self._is_short = self._end is not None and self._end <= CHUNK_SIZE and not self._waits
        self._events = 0
        self._ahead: asyncio.Future[Message] | None = None
        self._failure: HTTPError | None = None

    @property
    def pending(self) -> bool:
        """Whether a part of the body may still come (RFC 9112, 6.3)."""
        return self._announced and not self._ended and (self._begun or not self._waits)

    @property
    def abandoned(self) -> bool:
        """Whether the rest of the body is never read, so that the connection cannot be used again."""
        return isinstance(self._failure, TinyPiecesError)

    def close(self) -> None:
        """Drop the error of the body, if there is one.

        The traceback of the error refers to the body. This reference cycle would keep the server's side of the body
        alive, and so the connection, until Python's garbage collection.
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
            # The next event is received while this piece is hashed and written. granian starts at the call, and returns
            # a future, so that this needs no task.
            self._ahead = asyncio.ensure_future(self._receive())
        return piece

    async def give(self, open_sink: OpenSink) -> None:
        """Give pieces to a sink, without the event loop if the server allows that.

        The caller iterates over the rest.
        """
        # Without a length, only the first event shows whether the body is empty.
        if self._ended or not (self.length or self._begun) or self._is_short or self._is_tiny:
            return
        # Before the first receive(): a client whose request is refused need not send the body.
        sink = await open_sink()
        if sink is None:
            return
        self._begun = True
        if self._ahead is None:
            self._ahead = asyncio.ensure_future(self._receive())
        # It is a task if the server returns a coroutine, which the event loop has to run.
        if isinstance(self._ahead, asyncio.Task):
            return
        ahead, self._ahead = self._ahead, None
        pump = Pump(self._receive, ahead, self._take_unpaced, CHUNK_SIZE, sink, self._limits.pump_s)
        try:
            await pump.run(self._deadlines, self._limits.idle_s)
        except TimeoutError:
            self._fail(_too_slow(self._limits.idle_s))

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
            pieces.append(await self._event(self._limits.idle_s))
            if self.received > limit:
                raise too_large
        if self._failure:
            raise self._failure
        return b"".join(pieces)

    async def drain(self) -> None:
        """Read and drop the rest, within the limits."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain_total_s):
                while not self._ended:
                    await self._event(self._limits.drain_idle_s)

    async def disconnected(self) -> None:
        """Wait until the client disconnects, or the body fails. What the client still sends is dropped."""
        while self._failure is None:
            self._take(await self._receive())
            self._ended = True

    async def _gather(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while size < CHUNK_SIZE and not self._ended:
            piece = await self._event(self._limits.idle_s)
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    async def _event(self, timeout_s: float) -> bytes:
        if self._is_tiny:
            await self._pace.turn()
        try:
            self._begun = True
            with self._deadlines.within(timeout_s):
                ahead, self._ahead = self._ahead, None
                message = await (self._receive() if ahead is None else ahead)
        except TimeoutError:
            # Raised later, and not now: the backend stores what came before.
            self._fail(_too_slow(timeout_s))
            return b""
        return self._take(message)[0]

    def _take(self, message: Message) -> tuple[bytes, bool]:
        """The bytes of a message, and whether they are the last. Any thread may call this, one at a time."""
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
        """The same for a pump, which ends when the body has to be slowed down."""
        piece, is_last = self._take(message)
        return piece, is_last or self._is_tiny

    @property
    def _is_tiny(self) -> bool:
        """Whether the body comes in tiny pieces, which cost much more than they carry."""
        return not self._ended and self._events > FREE_EVENTS and self.received < self._events * LEAST_AVERAGE

    def _fail(self, failure: HTTPError) -> None:
        self._ended = True
        self._failure = failure


def _too_slow(timeout_s: float) -> HTTPError:
    return HTTPError(408, f"no byte of the body came for {timeout_s:g} seconds: send the request again")
