"""Requests, and the rules for sending them again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from ociserver.errors import HTTPError, UnreachableError

__all__ = [
    "BufferedBody",
    "FinalError",
    "InvalidAnswerError",
    "NoTokenError",
    "Request",
    "RetryPolicy",
    "StreamBody",
    "UnreachableError",
    "UntrustedError",
]

_PIECE: Final = 256 * 1024


class FinalError(UnreachableError):
    """The registry cannot be reached, and another attempt would not help."""


class UntrustedError(FinalError):
    """The registry's certificate is not trusted: no trusted authority signed it, or it is for another host."""


class InvalidAnswerError(HTTPError):
    """The registry's answer is not valid HTTP (502). The registry is up, and would give the same answer again."""


class NoTokenError(FinalError):
    """The token server did not answer, and neither did it answer the repeated requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and after which pauses, the client repeats a request.

    Args:
        attempts: maximum number of attempts.
        backoff_s: longest pause in seconds before the second attempt. It doubles with each further attempt. The client
            waits for a random part of the pause, so that clients that failed together do not return together.
        max_wait_s: longest pause in seconds, and the longest Retry-After that the client accepts.
    """

    attempts: int = 4
    backoff_s: float = 0.5
    max_wait_s: float = 30.0

    def pause(self, attempt: int, retry_after_s: float | None = None) -> float | None:
        """Seconds to wait after this attempt, counted from 1; None to give up."""
        if attempt >= self.attempts:
            return None
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.max_wait_s else None
        longest: float = min(self.backoff_s * 2.0 ** (attempt - 1), self.max_wait_s)
        return random.uniform(0.5, 1) * longest  # noqa: S311


class BufferedBody:
    """A body in memory. The client can send it again."""

    replayable: Final = True

    def __init__(self, pieces: Sequence[bytes] = ()) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.length = sum(map(len, self.pieces))

    async def iterate(self, stall: asyncio.Timeout, idle_timeout_s: float) -> AsyncIterator[bytes | memoryview]:
        """The body in pieces. Each piece that the connection takes restarts the timeout."""
        for piece in self.pieces:
            view = memoryview(piece)
            for start in range(0, len(view), _PIECE):
                _restart(stall, idle_timeout_s)
                yield view[start : start + _PIECE]
        stall.reschedule(None)

    def drop(self, count: int) -> BufferedBody:
        """The body without its first `count` bytes."""
        rest: list[bytes] = []
        for piece in self.pieces:
            if count < len(piece):
                rest.append(piece[count:])
            count = max(count - len(piece), 0)
        return BufferedBody(rest)


class StreamBody:
    """A body that a caller writes while the client sends it. It holds at most one piece."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self._piece: bytes | None = None
        self._ended = False
        self._closed = False
        self._begun = False
        self._change = asyncio.Event()

    @property
    def replayable(self) -> bool:
        """Whether another request can send this body, because no piece was taken so far."""
        return not self._begun

    async def put(self, piece: bytes) -> bool:
        """Wait for room and add a piece. Returns False if the body was closed."""
        while self._piece is not None and not self._closed:
            self._change.clear()
            await self._change.wait()
        if self._closed:
            return False
        self._piece = piece
        self._change.set()
        return True

    def end(self) -> None:
        """Mark the end of the body."""
        self._ended = True
        self._change.set()

    def close(self) -> None:
        """Refuse further pieces."""
        self._closed = True
        self._change.set()

    async def iterate(self, stall: asyncio.Timeout, idle_timeout_s: float) -> AsyncIterator[bytes | memoryview]:
        """The body in pieces. The timeout runs while a piece is sent, and not while the caller makes the next one."""
        while True:
            while self._piece is None and not self._ended:
                self._change.clear()
                await self._change.wait()
            if self._piece is None:
                return
            self._begun = True
            piece, self._piece = self._piece, None
            self._change.set()
            _restart(stall, idle_timeout_s)
            yield piece
            stall.reschedule(None)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, which the client may send several times.

    Args:
        method: of HTTP.
        url: absolute.
        scope: the access that it needs, as in Docker's token protocol.
        headers: in addition to those of every request.
        body: None for none.
        stays: do not follow a redirect to another host; `Answer.elsewhere` has its target.
        repeatable: a second execution has the same effect as one. So the client may repeat the request if it does not
            know whether the registry has executed it.
    """

    method: str
    # Not in `repr`: a Location may be signed, and the request to a token server contains a password.
    url: URL = field(repr=False)
    scope: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: BufferedBody | StreamBody | None = field(default=None, repr=False)
    repeatable: bool = False
    stays: bool = False

    @property
    def replayable(self) -> bool:
        """Whether the client can send the same bytes again."""
        return self.body is None or self.body.replayable


def _restart(stall: asyncio.Timeout, idle_timeout_s: float) -> None:
    stall.reschedule(asyncio.get_running_loop().time() + idle_timeout_s)
