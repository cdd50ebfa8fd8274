"""One hostile request: its bytes, a description, and the allowed answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tests.hostile.application import REPOSITORY


class Fate(Enum):
    """What has to happen to a request."""

    REFUSED = "coded"
    """The handler answers with a 4xx and an error code of the spec."""

    STOPPED = "server"
    """It is not valid HTTP. The HTTP server answers with a 4xx or closes the connection, or the handler refuses it."""

    FULL = "full"
    """It announces more than the registry has space for: 507, before any of the body is read."""

    TAKEN = "taken"
    """It looks hostile, but is allowed, and gets a normal answer."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One hostile request. `{upload}` in it becomes the path of a new upload.

    Args:
        name: a unique description for the table.
        pieces: bytes that are sent one after the other.
        fate: what has to happen.
        hangs_up: whether the client shuts down its side after the last piece, like one that disconnects.
    """

    name: str
    pieces: tuple[bytes, ...]
    fate: Fate = Fate.REFUSED
    hangs_up: bool = False


def raw(method: str, target: str, headers: Sequence[str | bytes] = (), body: bytes | None = None) -> bytes:
    """The bytes of a request. Nothing is checked or escaped. A body gets a Content-Length."""
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: registry.example", b"Connection: close"]
    lines += [line if isinstance(line, bytes) else line.encode("latin-1") for line in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(method: str, target: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a request with a chunked body. `body` is already encoded."""
    return raw(method, target, ["Transfer-Encoding: chunked", *headers]) + body


def below(path: str) -> str:
    """A path in the repository that exists."""
    return f"/v2/{REPOSITORY}/{path}"
