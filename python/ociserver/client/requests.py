"""What is sent, and when it may be sent again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from ociserver.client.limits import IDLE_TIMEOUT_S
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
    """The registry could not be reached, and a repetition would not help."""


class UntrustedError(FinalError):
    """The registry's certificate is not trusted: it is not from an authority that is, or for another host."""


class InvalidAnswerError(HTTPError):
    """The registry's answer is not valid HTTP: 502. It is there, and would say the same again."""


class NoTokenError(FinalError):
    """The token server gave no answer, although the request to it was repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often, and how patiently, a request is repeated that may be.

    Args:
        attempts: how many times a request is made at most.
        backoff_s: longest pause before the second attempt; it doubles with each further one. The pause is
            a random part of that, so that clients which failed together do not return together.
        max_wait_s: longest pause, and the longest Retry-After that is waited for.
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
    """A body in memory, which can be sent again."""

    replayable: Final = True

    def __init__(self, pieces: Sequence[bytes] = ()) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.length = sum(map(len, self.pieces))

    async def iterate(self, stall: asyncio.Timeout) -> AsyncIterator[bytes | memoryview]:
        """The body in pieces; the time-out is pushed back as each is taken."""
        for piece in self.pieces:
            view = memoryview(piece)
            for start in range(0, len(view), _PIECE):
                _push_back(stall)
                yield view[start : start + _PIECE]
        stall.reschedule(None)

    def drop(self, count: int) -> BufferedBody:
        """What is left without the first bytes."""
        rest: list[bytes] = []
        for piece in self.pieces:
            if count < len(piece):
                rest.append(piece[count:])
            count = max(count - len(piece), 0)
        return BufferedBody(rest)


class StreamBody:
    """A body that somebody writes while it is being sent. One piece waits; nothing else is held."""

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self._piece: bytes | None = None
        self._ended = False
        self._closed = False
        self._begun = False
        self._change = asyncio.Event()

    @property
    def replayable(self) -> bool:
        """Nothing was taken out so far, so it can be sent by another request."""
        return not self._begun

    async def put(self, piece: bytes) -> bool:
        """Wait for room and put a piece in. False if nobody takes any more."""
        while self._piece is not None and not self._closed:
            self._change.clear()
            await self._change.wait()
        if self._closed:
            return False
        self._piece = piece
        self._change.set()
        return True

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._change.set()

    def close(self) -> None:
        """Nothing more will be taken."""
        self._closed = True
        self._change.set()

    async def iterate(self, stall: asyncio.Timeout) -> AsyncIterator[bytes | memoryview]:
        """The body in pieces; the time-out counts while one is sent, and not while one is awaited."""
        while True:
            while self._piece is None and not self._ended:
                self._change.clear()
                await self._change.wait()
            if self._piece is None:
                return
            self._begun = True
            piece, self._piece = self._piece, None
            self._change.set()
            _push_back(stall)
            yield piece
            stall.reschedule(None)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as often as it may have to be sent.

    Args:
        method: of HTTP.
        url: absolute.
        scope: what it needs to be allowed to do, as in Docker's token protocol.
        headers: beside those that every request has.
        body: None for none.
        stays: a redirect to another host is not followed: `Answer.elsewhere` says where it leads.
        repeatable: doing it twice is the same as doing it once, so that it may be repeated when nobody knows
            whether it was done.
    """

    method: str
    # Not shown: a Location may be signed, and a token server is sent a password.
    url: URL = field(repr=False)
    scope: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: BufferedBody | StreamBody | None = field(default=None, repr=False)
    repeatable: bool = False
    stays: bool = False

    @property
    def replayable(self) -> bool:
        """The same bytes can be sent once more."""
        return self.body is None or self.body.replayable


def _push_back(stall: asyncio.Timeout) -> None:
    stall.reschedule(asyncio.get_running_loop().time() + IDLE_TIMEOUT_S)
