"""What can go wrong with an answer. `Registry.fail` says with which ones."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar, Final

__all__ = ["Corrupt", "ExpiredToken", "Fault", "NoRanges", "Reset", "Slow", "Status", "Truncate"]

CONTENTS: Final = frozenset({"blob_get", "manifest_get"})


@dataclass(frozen=True, slots=True)
class Fault:
    """The base of all faults."""

    kinds: ClassVar[frozenset[str] | None] = None
    """The only kinds of requests that the fault can meet; None: all."""

    needs_body: ClassVar[bool] = False
    """Whether the fault only meets answers with a body."""


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """An error, which is answered in place of the registry. A body of the request is read first.

    Args:
        status: 400 to 599.
        retry_after: seconds, for a header Retry-After.
        code: in the body; by default TOOMANYREQUESTS, UNAUTHORIZED, DENIED or UNKNOWN, by the status.
        message: in the body.
    """

    status: int
    retry_after: int | None = None
    code: str = ""
    message: str = "a fault of the test"

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"{self.status} is not the status of an error: use 400 to 599")

    def __str__(self) -> str:
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """A TCP reset. What the client has not read by then is lost.

    Args:
        after: bytes of the body that pass before: of the request if it has a body, otherwise of the answer.
    """

    after: int = 0


@dataclass(frozen=True, slots=True)
class Truncate(Fault):
    """The connection is closed in order before the body of the answer is complete.

    Args:
        after: bytes that are sent; None: half of them.
    """

    after: int | None = None
    needs_body: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """An answer that takes its time.

    Args:
        delay_s: seconds before it begins.
        bytes_per_s: the rate of its body; None: full speed.
    """

    delay_s: float = 0.0
    bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.delay_s < 0 or (self.bytes_per_s is not None and self.bytes_per_s <= 0):
            raise ValueError("a delay must be 0 or more, and a rate more than 0")
        if not self.delay_s and self.bytes_per_s is None:
            raise ValueError("give a delay or a rate")


@dataclass(frozen=True, slots=True)
class Corrupt(Fault):
    """One byte of a blob or manifest is wrong, so that it does not have its digest. The length is right."""

    kinds: ClassVar[frozenset[str] | None] = CONTENTS
    needs_body: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class ExpiredToken(Fault):
    """The token of a request has expired: 401 with a challenge, now and whenever the client sends this token again."""


@dataclass(frozen=True, slots=True)
class NoRanges(Fault):
    """A request for a part of a blob is answered with 200 and the whole blob. It meets only requests with Range."""

    kinds: ClassVar[frozenset[str] | None] = frozenset({"blob_get"})
