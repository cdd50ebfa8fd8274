"""One request on its way through the handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ociserver._core import Request
from ociserver.context import RequestContext
from ociserver.handler.body import Body
from ociserver.handler.responses import Headers, etag
from ociserver.types import Message, Scope, Send

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from ociserver.handler.app import Handler
    from ociserver.types import Receive

__all__ = ["Call", "Event", "raw_path"]

MAX_REQUEST_ID: Final = 128
"""Longest X-Request-Id of a client that is taken over, in bytes; it is repeated in every log line."""

_API_VERSION: Final = (b"docker-distribution-api-version", b"registry/2.0")


@dataclass(frozen=True, slots=True)
class Event:
    """A finished request, for logs and metrics.

    Args:
        request_id: the id that log lines and the request's context carry.
        client: address of the peer, or "" where the server does not tell.
        method: as received.
        path: as received, percent-encoded.
        kind: of the parsed request; None if it could not be parsed.
        repository: None where there is none.
        status: of the answer; 0 if none was sent.
        received: bytes of the body that were read.
        sent: bytes of the body that were sent.
        duration: seconds.
    """

    request_id: str
    client: str
    method: str
    path: bytes
    kind: str | None
    repository: str | None
    status: int
    received: int
    sent: int
    duration: float


class Call(RequestContext):
    """A request, parsed, with the means to answer it.

    It is its own context, of which a backend sees the public part: two objects for each request cost more
    than one.
    """

    __slots__ = (
        "_body",
        "_receive",
        "_send",
        "handler",
        "has_body",
        "headers",
        "request",
        "root",
        "scope",
        "sent",
        "status",
        "watch",
    )

    request: Request

    def __init__(self, handler: Handler, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.handler = handler
        self.scope = scope
        # The last of a repeated header counts; ASGI servers send names in lower case.
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.has_body = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        self.root: str = ""
        self.status = 0
        self.sent = 0
        # Done when the client has gone away; only long answers are watched.
        self.watch: asyncio.Future[None] | None = None
        self._body: Body | None = None
        self._receive = receive
        self._send = send
        if b"x-request-id" in self.headers:
            request_id = _request_id(self.headers[b"x-request-id"]) or request_id
        # Set here and not by the base class, whose keyword arguments cost as much as all of this.
        self.request_id = request_id
        self.user = scope.get("user")
        self.auth = scope.get("auth")
        self.namespace = None
        self.served_from = None
        self.warnings = []

    @property
    def body(self) -> Body:
        """What the client sends. Made when it is first asked for: most requests have none."""
        if self._body is None:
            self._body = Body(self._receive, self.headers)
        return self._body

    @property
    def received(self) -> int:
        """Bytes of the body that were read."""
        return self._body.received if self._body else 0

    async def start(self, status: int, headers: Headers) -> None:
        """Begin an answer that is sent piece by piece; after this an error can only cut it short."""
        await self._send(self.head(status, headers))

    async def write(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body; waits while the client does not take it."""
        self.sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def head(self, status: int, headers: Headers) -> Message:
        """The message that begins an answer, with the headers that all answers have."""
        self.status = status
        headers.append(_API_VERSION)
        if self.warnings:
            headers.extend((b"warning", _warning(text)) for text in self.warnings)
        if self.served_from is not None:
            headers.append((b"oci-namespace", self.served_from.encode("latin-1", "replace")))
        return {"type": "http.response.start", "status": status, "headers": headers}

    def path(self, path: str) -> str:
        """A path of this API as the client sees it, below whatever the handler is mounted under."""
        return self.root + path

    def own_path(self) -> bytes:
        """The path of this request as the client sent it, percent-encoded."""
        path: bytes = raw_path(self.scope)
        root = self.root.encode()
        return path if path.startswith(root) else root + path

    def not_modified(self, digest: str) -> bool:
        """Whether If-None-Match names the content of this digest (RFC 9110, 13.1.2: weak comparison)."""
        condition = self.headers.get(b"if-none-match")
        return condition is not None and _matches(condition, etag(digest))


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent: decoded by the server, `path` could not tell `%252F` from `%2F`."""
    return scope.get("raw_path") or quote(scope["path"]).encode()


def _request_id(header: bytes | None) -> str | None:
    if header is None or len(header) > MAX_REQUEST_ID or not header.isascii() or not header.decode().isprintable():
        return None
    return header.decode()


def _matches(condition: bytes, tag: bytes) -> bool:
    if condition == tag:
        # What a client sends that has exactly this content.
        return True
    candidates: Iterable[bytes] = (candidate.strip() for candidate in condition.split(b","))
    return any(candidate == b"*" or candidate.removeprefix(b"W/") == tag for candidate in candidates)


def _warning(text: str) -> bytes:
    # RFC 7234, 5.5: warn-code SP warn-agent SP quoted-string; the spec wants code 299 and no agent.
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'.encode()
