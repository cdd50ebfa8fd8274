"""One hostile request: its bytes, what they are, and what they may get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tests.hostile.application import REPOSITORY


class Fate(Enum):
    """Who has to deal with it."""

    REFUSED = "coded"
    """It reaches the handler, which answers with a 4xx and a code of the spec."""

    STOPPED = "server"
    """It is no HTTP, and the server in front answers 4xx or closes; or it passes it on, and then as REFUSED."""

    FULL = "full"
    """It asks for more room than the registry has: 507, before a byte of it is read."""

    TAKEN = "taken"
    """It looks hostile and is allowed: it gets what any such request gets."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is sent. `{upload}` in it becomes the path of an upload that has just been started.

    Args:
        name: unique; stands in the table.
        pieces: sent one after the other.
        fate: who has to deal with it.
        hangs_up: the client ends its side after the last piece, as if it had gone away.
    """

    name: str
    pieces: tuple[bytes, ...]
    fate: Fate = Fate.REFUSED
    hangs_up: bool = False


def raw(method: str, target: str, headers: Sequence[str | bytes] = (), body: bytes | None = None) -> bytes:
    """A request by hand. Nothing is checked or escaped; a Content-Length is added where there is a body."""
    lines = [f"{method} {target} HTTP/1.1".encode("latin-1"), b"Host: registry.example", b"Connection: close"]
    lines += [line if isinstance(line, bytes) else line.encode("latin-1") for line in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(method: str, target: str, body: bytes, *headers: str) -> bytes:
    """A request with a chunked body, which is given as it goes over the wire."""
    return raw(method, target, ["Transfer-Encoding: chunked", *headers]) + body


def below(path: str) -> str:
    """A path of the repository that there is."""
    return f"/v2/{REPOSITORY}/{path}"
