"""One request on its way through the handler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ociserver._core import Request
from ociserver.context import RequestContext
from ociserver.handler.body import Body
from ociserver.types import Message, Scope, Send

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from ociserver.handler.app import Handler
    from ociserver.types import Receive

__all__ = ["Call", "Event", "Headers", "raw_path"]

Headers = list[tuple[bytes, bytes]]

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


class Call:
    """A request, parsed, with the means to answer it."""

    __slots__ = (
        "_send",
        "body",
        "context",
        "handler",
        "headers",
        "request",
        "root",
        "scope",
        "sent",
        "status",
        "watch",
    )

    request: Request

    def __init__(self, handler: Handler, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        self.handler = handler
        self.scope = scope
        self.context = context
        # The last of a repeated header counts; ASGI servers send names in lower case.
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.body = Body(receive, self.headers)
        self.root: str = ""
        self.status = 0
        self.sent = 0
        # Done when the client has gone away; only long answers are watched.
        self.watch: asyncio.Future[None] | None = None
        self._send = send

    async def start(self, status: int, headers: Headers) -> None:
        """Send the status line and the headers; after this an error can only cut the answer short."""
        self.status = status
        headers.append(_API_VERSION)
        context = self.context
        if context.warnings:
            headers.extend((b"warning", _warning(text)) for text in context.warnings)
        if context.served_from is not None:
            headers.append((b"oci-namespace", context.served_from.encode("latin-1", "replace")))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body; waits while the client does not take it."""
        self.sent += len(data)
        message: Message = {"type": "http.response.body", "body": data, "more_body": more}
        await self._send(message)

    async def respond(self, status: int, headers: Headers, content: bytes = b"") -> None:
        """Send a whole answer. Content-Length is the caller's to give, since HEAD and 304 differ in it."""
        await self.start(status, headers)
        await self.write(content, more=False)

    async def respond_empty(self, status: int, headers: Headers) -> None:
        """Send an answer that has no body."""
        headers.append((b"content-length", b"0"))
        await self.respond(status, headers)

    async def respond_json(self, status: int, headers: Headers, content: bytes) -> None:
        """Send a whole JSON document; the headers name the type where it is not plain JSON."""
        headers.append((b"content-length", b"%d" % len(content)))
        await self.respond(status, headers, content)

    def path(self, path: str) -> str:
        """A path of this API as the client sees it, below whatever the handler is mounted under."""
        return self.root + path

    def own_path(self) -> bytes:
        """The path of this request as the client sent it, percent-encoded."""
        path: bytes = raw_path(self.scope)
        root = self.root.encode()
        return path if path.startswith(root) else root + path

    def not_modified(self, etag: bytes) -> bool:
        """Whether If-None-Match names this entity tag (RFC 9110, 13.1.2: weak comparison)."""
        condition = self.headers.get(b"if-none-match")
        return condition is not None and _matches(condition, etag)


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent: decoded by the server, `path` could not tell `%252F` from `%2F`."""
    return scope.get("raw_path") or quote(scope["path"]).encode()


def _matches(condition: bytes, etag: bytes) -> bool:
    candidates: Iterable[bytes] = (candidate.strip() for candidate in condition.split(b","))
    return any(candidate == b"*" or candidate.removeprefix(b"W/") == etag for candidate in candidates)


def _warning(text: str) -> bytes:
    # RFC 7234, 5.5: warn-code SP warn-agent SP quoted-string; the spec wants code 299 and no agent.
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'.encode()
