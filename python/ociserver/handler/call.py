"""One request, while the handler answers it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ociserver._core import API_VERSION, Exchange, Request
from ociserver.context import RequestContext
from ociserver.handler.body import Body
from ociserver.handler.responses import Headers, etag, text
from ociserver.types import Message, Scope

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from ociserver.auth.identity import Identity
    from ociserver.handler.site import Site

__all__ = ["Call", "raw_path"]


class Call(Exchange, RequestContext):
    """A parsed request, with the methods that answer it.

    It is also the context of the request, whose public part a backend sees: one object costs less than two. Most
    requests need only what `Exchange` has read. The rest is computed when it is needed.
    """

    # The constructor of `Exchange` does everything.
    __init__ = Exchange.__init__

    request: Request
    status = 0
    sent = 0
    _id: str | None = None
    identity: Identity | None = None
    """Who sends the request, if the handler asks."""
    pushed: str | None = None
    """The digest of the manifest that was pushed."""
    watch: asyncio.Future[None] | None = None
    """Done when the client has disconnected. Only long answers are watched."""

    if TYPE_CHECKING:

        @property
        def site(self) -> Site: ...

    @cached_property
    def headers(self) -> dict[bytes, bytes]:
        """The headers by name, in lower case, as ASGI servers send them. Of a repeated header, the last one counts."""
        return dict(self.scope["headers"])

    @cached_property
    def body(self) -> Body:
        """The body of the request."""
        site = self.site
        return Body(self.receive, self.headers, site.deadlines, site.pace, site.body_limits)

    @property
    def received(self) -> int:
        """Bytes of the body that were read. HTTP/2 need not announce a body, so only a body that was used counts."""
        body: Body | None = self.__dict__.get("body")
        return body.received if body else 0

    @property
    def request_id(self) -> str:  # type: ignore[override]  # nobody else sets it
        if self._id is None:
            # Not a cached_property, whose lock costs more than all of this: each logged request needs the id.
            self._id = self.site.request_ids.of(self.x_request_id)
        return self._id

    @property
    def user(self) -> Any:
        return self.scope.get("user") if self.identity is None else self.identity.name

    @property
    def auth(self) -> Any:
        return self.scope.get("auth") if self.identity is None else self.identity

    @cached_property
    def namespace(self) -> str | None:  # type: ignore[override]  # nobody else sets it
        return self.request.namespace

    @cached_property
    def root(self) -> str:
        """The prefix below which the handler is mounted, percent-encoded."""
        return quote(self.scope.get("root_path", "").rstrip("/"))

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
    if condition == tag:
        # The usual case: the client has exactly this content.
        return True
    candidates: Iterable[bytes] = (candidate.strip() for candidate in condition.split(b","))
    return any(candidate == b"*" or candidate.removeprefix(b"W/") == tag for candidate in candidates)


def _warning(text: str) -> bytes:
    # RFC 7234, 5.5: warn-code SP warn-agent SP quoted-string. The spec requires code 299 and no agent.
    printable = "".join(c if " " <= c <= "~" else "?" for c in text)
    quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{quoted}"'.encode()
