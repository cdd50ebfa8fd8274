"""Decides whether the cache asks an upstream. A circuit breaker for each kind of failure.

```
CLOSED ---failed---> OPEN ---after retry_after, or for a request without another answer---> HALF_OPEN
  ^                    ^                                                                        |
  |                    '----------------------------- the probe failed -------------------------|
    '---------------------------- any answer of the registry -------------------------------------'
```

CLOSED: every request asks upstream. OPEN: no request does. HALF_OPEN: one request, the probe, asks; the others do not
wait for it. A request that the breaker stops is answered from what is kept, or gets 503 with Retry-After at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import Enum, IntEnum
from typing import Final

from ociserver.context import request_context, retry_until
from ociserver.errors import HTTPError, OCIError, UnreachableError, marshal_error
from ociserver.lru import LRU
from ociserver.meter import UpstreamFailure

__all__ = ["Breaker", "Health", "NotAskedError", "RefusedError", "State", "briefly", "failure_of", "is_down", "warn"]

RETRY_FOR_S: Final = 0.6
"""Seconds in which a client may retry a request that has another answer or is a probe: enough for one retry."""

RETRY_UNKNOWN_FOR_S: Final = 3.0
"""Seconds in which a client may retry any other request. A client of the cache waits in this time."""

MAX_REFUSALS: Final = 1_000
"""Repositories of an upstream whose refusals are kept in memory."""


class RefusedError(HTTPError):
    """The upstream refuses the credentials of the cache."""


class NotAskedError(HTTPError):
    """The cache did not ask the upstream, because it failed recently: 503 with Retry-After."""


class State(Enum):
    """See the module."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half open"


class Severity(IntEnum):
    """How an upstream failed. It determines which requests an open breaker stops."""

    CONTENT = 1
    """It answered with an error (429, 500), which may concern one content only. Requests without another answer still
    ask."""
    DOWN = 2
    """It gave no answer, or 503. A request without another answer is the probe, one at a time: a probe fails fast."""
    HANGS = 3
    """It took too long, or answered 504. A probe costs its client the whole timeout: one in each `retry_after`."""


class Breaker:
    """The state machine of one kind of failure.

    Args:
        retry_after: seconds from a failure to the next probe.
    """

    def __init__(self, retry_after: float) -> None:
        self.why = ""
        """The last failure, as a text."""
        self._retry_after = retry_after
        self._severity: Severity | None = None
        self._until = 0.0
        self._probe: object | None = None

    @property
    def state(self) -> State:
        if self._severity is None:
            return State.CLOSED
        return State.OPEN if self._probe is None else State.HALF_OPEN

    def lets_through(self, *, has_other_answer: bool) -> bool:
        """Whether the breaker would let a request through now."""
        if self._severity is None or (self._severity is Severity.CONTENT and not has_other_answer):
            return True
        if self._probe is not None:
            return False
        waits = has_other_answer or self._severity is Severity.HANGS
        return not waits or time.monotonic() >= self._until

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Be the probe within this block, unless the breaker is closed or there is another probe."""
        probe = None
        if self.state is State.OPEN:
            probe = self._probe = object()
        try:
            yield
        finally:
            if probe is not None and self._probe is probe:
                # The probe has neither an answer nor an error, because its client left. The next request is the probe.
                self._probe = None

    def failed(self, severity: Severity, why: str) -> None:
        """Open the breaker."""
        self._severity, self.why, self._probe = severity, why, None
        self._until = time.monotonic() + self._retry_after

    def answered(self) -> None:
        """Close the breaker."""
        self._severity, self._probe = None, None

    @property
    def wait_s(self) -> float:
        """Seconds until the next probe is due."""
        return max(self._until - time.monotonic(), 0.0)


class Health:
    """The breakers of one upstream.

    A failure counts for all repositories of the upstream, and a refusal for one. A slow list counts for lists only,
    because a registry may be slow to list and otherwise fast.

    Args:
        host: for messages.
        retry_after: seconds for which the cache does not ask an upstream that failed.
    """

    def __init__(self, host: str, retry_after: float) -> None:
        self.all = Breaker(retry_after)
        self.lists = Breaker(retry_after)
        self._host = host
        self._retry_after = retry_after
        self._refused: LRU[str, Breaker] = LRU(MAX_REFUSALS)

    def why_not(self, name: str, *, lists: bool = False) -> str | None:
        """The reason not to ask upstream about something that has another answer; None to ask."""
        breakers = (self.all, self._refused.get(name), self.lists if lists else None)
        for breaker in breakers:
            if breaker is not None and not breaker.lets_through(has_other_answer=True):
                return breaker.why
        return None

    @contextmanager
    def asking(self, name: str) -> Iterator[None]:
        """Wrap a request to upstream. Records its outcome.

        Raises:
            NotAskedError: a breaker is open.
        """
        if not self.all.lets_through(has_other_answer=False):
            raise self._not_asked()
        with self.all.probing(), _retrying(RETRY_UNKNOWN_FOR_S if self.all.state is State.CLOSED else RETRY_FOR_S):
            try:
                yield
            except Exception as error:
                self.failed(name, error)
                raise
            self.answered(name)

    def failed(self, name: str, error: Exception) -> str:
        """Record what an error says about the upstream. Returns it as a text."""
        if isinstance(error, NotAskedError):
            return self.all.why or error.message
        if isinstance(error, RefusedError):
            # An upstream that refuses has answered.
            self.all.answered()
            refused = self._refused.get(name) or Breaker(self._retry_after)
            refused.failed(Severity.CONTENT, error.message)
            self._refused.put(name, refused)
            return error.message
        why = f"upstream does not answer ({self._host}: {_reason(error)})"
        if is_down(error):
            self.all.failed(_severity(error), why)
        else:
            self.answered(name)
        return why

    def list_was_slow(self) -> str:
        """Record that a list did not begin in time. Returns this as a text."""
        why = f"upstream does not answer ({self._host}: it is too slow)"
        self.lists.failed(Severity.HANGS, why)
        if self.all.state is not State.CLOSED:
            self.all.failed(Severity.HANGS, why)
        return why

    def answered(self, name: str) -> None:
        """Record that upstream has answered."""
        self.all.answered()
        self._refused.pop(name)

    def _not_asked(self) -> NotAskedError:
        seconds = max(math.ceil(self.all.wait_s), 1)
        return NotAskedError(
            503, f"{self.all.why}; the cache will ask it again later", headers={"Retry-After": str(seconds)}
        )


def briefly() -> AbstractContextManager[None]:
    """Limit the retries of a client within this block, because there is another answer."""
    return _retrying(RETRY_FOR_S)


@contextmanager
def _retrying(seconds: float) -> Iterator[None]:
    """Stop the retries of a client within this block after `seconds`, or earlier if an outer block says so."""
    until, outer = time.monotonic() + seconds, retry_until.get()
    token = retry_until.set(until if outer is None else min(until, outer))
    try:
        yield
    finally:
        retry_until.reset(token)


def is_down(error: BaseException) -> bool:
    """Whether an error says nothing about the content: no answer, a server error, or too many requests."""
    if isinstance(error, OCIError) and error.code == "DIGEST_INVALID":
        return False
    status = marshal_error(error).status
    return status >= 500 or status in (408, 429)


def failure_of(error: Exception) -> UpstreamFailure | None:
    """How a request to upstream has failed. None: it was answered, or not made."""
    if isinstance(error, NotAskedError):
        return None
    if isinstance(error, RefusedError):
        return "refused"
    if isinstance(error, OCIError) and error.code == "DIGEST_INVALID":
        return "wrong_content"
    if not is_down(error):
        return None
    status = marshal_error(error).status
    if isinstance(error, TimeoutError) or status in (408, 504):
        return "slow"
    if status == 429:
        return "throttled"
    return "unreachable" if isinstance(error, UnreachableError) else "server_error"


def warn(text: str) -> None:
    """Add a warning to the answer to the current request."""
    context = request_context.get()
    if context is not None:
        context.warn(text)


def _severity(error: Exception) -> Severity:
    status = marshal_error(error).status
    if isinstance(error, TimeoutError) or status == 504:
        return Severity.HANGS
    return Severity.DOWN if isinstance(error, UnreachableError) or status == 503 else Severity.CONTENT


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it is too slow"
    wire = marshal_error(error)
    return f"{wire.status} {wire.code}" if isinstance(error, (OCIError, HTTPError)) else type(error).__name__
