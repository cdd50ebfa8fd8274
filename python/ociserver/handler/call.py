"""One request, while the handler answers it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ociserver._core import API_VERSION, Request
from ociserver.context import RequestContext
from ociserver.handler.body import Body
from ociserver.handler.responses import Headers, etag, text
from ociserver.types import Message, Receive, Scope, Send

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from ociserver.auth.identity import Identity
    from ociserver.handler.site import Site

__all__ = ["Call", "raw_path"]


class Call(RequestContext):
    """A parsed request, with the methods that answer it. It is also the context of the request, for backends.

    Args:
        site: what all requests of a handler share.
        scope: the ASGI scope.
        receive: the ASGI `receive`.
        send: the ASGI `send`.
    """

    request: Request
    status = 0
    sent = 0
    identity: Identity | None = None
    """Who sends the request, if the handler asks."""
    pushed: str | None = None
    """The digest of the manifest that was pushed."""
    watch: asyncio.Future[None] | None = None
    """Done when the client has disconnected. Only long answers are watched."""
    _body: Body | None = None

    def __init__(self, site: Site, scope: Scope, receive: Receive, send: Send) -> None:
        self.site = site
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        """The headers by name, in lower case, as ASGI servers send them. Of a repeated header, the last one counts."""
        self.root: str = quote(scope.get("root_path", "").rstrip("/"))
        """The prefix below which the handler is mounted, percent-encoded."""

    @property
    def has_body(self) -> bool:
        """Whether the request announces a body that is not empty."""
        headers = self.headers
        return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers

    @property
    def if_none_match(self) -> bytes | None:
        """The If-None-Match header."""
        return self.headers.get(b"if-none-match")

    @property
    def range(self) -> bytes | None:
        """The Range header."""
        return self.headers.get(b"range")

    @property
    def body(self) -> Body:
        """The body of the request."""
        if self._body is None:
            site = self.site
            self._body = Body(self.receive, self.headers, site.deadlines, site.pace, site.body_limits)
        return self._body

    @property
    def received(self) -> int:
        """Bytes of the body that were read. HTTP/2 need not announce a body, so only a body that was used counts."""
        return 0 if self._body is None else self._body.received

    @cached_property
    def request_id(self) -> str:  # type: ignore[override]  # nobody else sets it
        return self.site.request_ids.of(self.headers.get(b"x-request-id"))

    @property
    def user(self) -> Any:
        return self.scope.get("user") if self.identity is None else self.identity.name

    @property
    def auth(self) -> Any:
        return self.scope.get("auth") if self.identity is None else self.identity

    @cached_property
    def namespace(self) -> str | None:  # type: ignore[override]  # nobody else sets it
        return self.request.namespace

    async def start(self, status: int, headers: Headers) -> None:
        """Begin an answer that is sent piece by piece. After this, an error can only truncate it."""
        await self.send(self.head(status, headers))

    async def write(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body. This waits while the client does not read."""
        self.sent += len(data)
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    def head(self, status: int, headers: Headers) -> Message:
        """The message that begins an answer, with the headers that all answers have."""
        self.status = status
        headers.append(API_VERSION)
        if self.warnings:
            headers.extend((b"warning", _warning(warning)) for warning in self.warnings)
        if self.served_from is not None:
            headers.append((b"oci-namespace", text(self.served_from)))
        return {"type": "http.response.start", "status": status, "headers": headers}

    def path(self, path: str) -> str:
        """A path of this API as the client sees it, with the prefix below which the handler is mounted."""
        return self.root + path

    def own_path(self) -> bytes:
        """The path of this request as the client sent it, percent-encoded."""
        path: bytes = raw_path(self.scope)
        root = self.root.encode()
        return path if path.startswith(root) else root + path

    def not_modified(self, digest: str) -> bool:
        """Whether If-None-Match names the content of this digest (RFC 9110, 13.1.2: weak comparison)."""
        condition = self.if_none_match
        return condition is not None and _matches(condition, etag(digest))


def raw_path(scope: Scope) -> bytes:
    """The path as it was sent. The server has decoded `path`, which cannot tell `%252F` from `%2F`."""
    return scope.get("raw_path") or quote(scope["path"]).encode()


def _matches(condition: bytes, tag: bytes) -> bool:
    candidates: Iterable[bytes] = (candidate.strip() for candidate in condition.split(b","))
    return any(candidate == b"*" or candidate.removeprefix(b"W/") == tag for candidate in candidates)


def _warning(text: str) -> bytes:
    # RFC 7234, 5.5: warn-code SP warn-agent SP quoted-string. The spec requires code 299 and no agent.
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'.encode()
