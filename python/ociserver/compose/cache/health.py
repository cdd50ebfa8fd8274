"""Circuit breaker: an upstream that failed is not asked for a while, where there is another answer to give."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ociserver.context import request_context, retry_until
from ociserver.errors import HTTPError, OCIError, marshal_error
from ociserver.lru import LRU

__all__ = ["Health", "RefusedError", "briefly", "is_down", "warn"]

RETRY_FOR_S: Final = 0.6
"""Seconds in which a client may retry a request that there is another answer to: enough for one retry."""

MAX_REFUSALS: Final = 1_000
"""Repositories of an upstream whose refusal is remembered."""


class RefusedError(HTTPError):
    """The upstream refuses the credentials of the cache."""


class Health:
    """Whether an upstream has failed lately.

    A failure counts for all its repositories, a refusal for one.

    Args:
        host: for messages.
        retry_after: seconds for which the upstream is not asked after it failed.
    """

    def __init__(self, host: str, retry_after: float) -> None:
        self._host = host
        self._retry_after = retry_after
        self._down: tuple[float, str] = (0.0, "")
        self._refused: LRU[str, tuple[float, str]] = LRU(MAX_REFUSALS)

    def why_not(self, name: str) -> str | None:
        """Why upstream is not asked about a repository at the moment; None to ask it."""
        now = time.monotonic()
        for until, why in (self._down, self._refused.get(name) or (0.0, "")):
            if now < until:
                return why
        return None

    def failed(self, name: str, error: Exception) -> str:
        """Record a failure; returns it in words."""
        until = time.monotonic() + self._retry_after
        if isinstance(error, RefusedError):
            why = error.message
            self._refused.put(name, (until, why))
        else:
            why = f"upstream does not answer ({self._host}: {_reason(error)})"
            self._down = (until, why)
        return why

    def answered(self, name: str) -> None:
        """Record that upstream has answered."""
        self._down = (0.0, "")
        self._refused.pop(name)


@contextmanager
def briefly() -> Iterator[None]:
    """Within this block a client does not retry for long, because there is another answer."""
    token = retry_until.set(time.monotonic() + RETRY_FOR_S)
    try:
        yield
    finally:
        retry_until.reset(token)


def is_down(error: BaseException) -> bool:
    """Whether an error says nothing about the content: no answer, a fault of the server, or too many requests."""
    if isinstance(error, OCIError) and error.code == "DIGEST_INVALID":
        return False
    status = marshal_error(error).status
    return status >= 500 or status in (408, 429)


def warn(text: str) -> None:
    """Add a warning to the answer to the current request."""
    context = request_context.get()
    if context is not None:
        context.warn(text)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it is too slow"
    wire = marshal_error(error)
    return f"{wire.status} {wire.code}" if isinstance(error, (OCIError, HTTPError)) else type(error).__name__
