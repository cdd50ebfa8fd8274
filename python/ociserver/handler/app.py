"""The ASGI application: lifespan, dispatch, and the one place where errors become answers."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

from ociserver._core import parse_request
from ociserver.context import RequestContext, request_context
from ociserver.errors import HTTPError, OCIError, marshal_error
from ociserver.handler import blobs, lists, manifests, uploads
from ociserver.handler.body import ClientDisconnectedError
from ociserver.handler.call import Call, Event, raw_path
from ociserver.interface import Backend, complete
from ociserver.options import Options, Response
from ociserver.types import Receive, Scope, Send

__all__ = ["Handler"]

_log = logging.getLogger("ociserver")
_debug_ids = itertools.count(1)

MAX_REQUEST_ID: Final = 128
"""Longest X-Request-Id of a client that is taken over, in bytes; it is repeated in every log line."""

_INTERNAL_ERROR: Final = "internal server error"


async def _ping(call: Call) -> None:
    # end-1, GET /v2/: 200, 404/401
    await call.respond_empty(200, [])


_TABLE: Final[dict[str, Callable[[Call], Awaitable[None]]]] = {
    "ping": _ping,
    "blob_get": blobs.get,
    "blob_head": blobs.head,
    "blob_delete": blobs.delete,
    "upload_start": uploads.start,
    "upload_blob": uploads.push,
    "blob_mount": uploads.mount,
    "upload_info": uploads.info,
    "upload_chunk": uploads.chunk,
    "upload_complete": uploads.complete,
    "upload_cancel": uploads.cancel,
    "manifest_get": manifests.get,
    "manifest_head": manifests.head,
    "manifest_put": manifests.put,
    "manifest_delete": manifests.delete,
    "tags_list": lists.tags,
    "referrers_list": lists.referrers,
    "catalog_list": lists.catalog,
}


class Handler:
    """An OCI registry as an ASGI application (Go: `ociserver.New`).

    Args:
        backend: what holds the contents; any object with some of the methods of `Backend`.
        options: how to behave; by default as the spec says.
        observe: called with an `Event` after each request, on the event loop: it must be quick.

    It belongs at the root of a site, where clients look for `/v2/`. Mounted below a prefix it takes the
    prefix off and puts it before every Location and Link, and a reverse proxy has to map `/v2/` to it.

    The backend is opened and closed by the ASGI lifespan; where a mount runs none, the first request
    opens it, and `aclose` closes it. `async with handler` does both.

    Raises:
        TypeError: the backend has none of the methods.
    """

    def __init__(
        self, backend: Any, options: Options | None = None, *, observe: Callable[[Event], None] | None = None
    ) -> None:
        self.backend: Backend = complete(backend)
        self.options = options or Options()
        self.debug_id = self.options.debug_id or f"ociserver{next(_debug_ids)}"
        self._observe = observe
        self._request_numbers = itertools.count(1)
        self._opened = False
        self._opening = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        else:
            raise RuntimeError(f"ociserver serves http, not {kind}")

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the backend. The next request would open it again."""
        if self._opened:
            self._opened = False
            await self.backend.__aexit__(None, None, None)

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                await self.backend.__aenter__()
                self._opened = True

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._open()
        except Exception as error:
            _log.exception("%s: the backend did not open", self.debug_id)
            await send({"type": "lifespan.startup.failed", "message": f"the backend did not open: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await self.aclose()
        except Exception as error:
            _log.exception("%s: the backend did not close", self.debug_id)
            await send({"type": "lifespan.shutdown.failed", "message": f"the backend did not close: {error}"})
            return
        await send({"type": "lifespan.shutdown.complete"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        context = RequestContext(
            f"{self.debug_id}-{next(self._request_numbers)}", user=scope.get("user"), auth=scope.get("auth")
        )
        call = Call(self, scope, receive, send, context)
        theirs = call.headers.get(b"x-request-id")
        if theirs is not None and len(theirs) <= MAX_REQUEST_ID and theirs.isascii() and theirs.decode().isprintable():
            context.request_id = theirs.decode()
        token = request_context.set(context)
        try:
            await self._serve(call)
        finally:
            request_context.reset(token)
            if call.body.pending:
                await call.body.drain()
            if self._observe:
                self._observe(self._event(call, time.perf_counter() - began))

    async def _serve(self, call: Call) -> None:
        scope = call.scope
        try:
            root = scope.get("root_path")
            if root:
                call.root = quote(root.rstrip("/"))
            call.request = request = parse_request(
                scope["method"], raw_path(scope), scope["query_string"], call.root.encode()
            )
            call.context.namespace = request.namespace
            if not self._opened:
                await self._open()
            await _TABLE[request.kind](call)
        except Exception as error:
            await self._fail(call, error)

    async def _fail(self, call: Call, error: Exception) -> None:
        request_id = call.context.request_id
        wire = marshal_error(error)
        if wire.status >= 500:
            ours = _is_ours(error)
            if not ours:
                # Whoever raised it did not write its text for clients; the log has all of it.
                wire.message = f"{_INTERNAL_ERROR} (request {request_id})"
            traceback = None if ours else error
            _log.error("%s: %s %r: %s", request_id, call.scope["method"], call.scope["path"], error, exc_info=traceback)
        else:
            _log.debug("%s: %s", request_id, error)
        if call.status:
            if isinstance(error, ClientDisconnectedError):
                return
            # Too late for another answer. The server closes the connection, so that the client sees a
            # body that is too short, and not one that looks whole.
            raise error
        if self.options.write_error:
            response = self.options.write_error(call.scope, error)
            if inspect.isawaitable(response):
                response = await response
        else:
            response = Response(wire.status, {"Content-Type": "application/json", **wire.headers}, wire.content)
        headers = [
            (name.lower().encode(), value.encode("latin-1", "replace")) for name, value in response.headers.items()
        ]
        headers.append((b"content-length", b"%d" % len(response.content)))
        content = b"" if call.scope["method"] == "HEAD" else response.content
        await call.respond(response.status, headers, content)

    def _event(self, call: Call, duration: float) -> Event:
        scope = call.scope
        request = getattr(call, "request", None)
        client = scope.get("client")
        return Event(
            request_id=call.context.request_id,
            client=client[0] if client else "",
            method=scope["method"],
            path=raw_path(scope),
            kind=request.kind if request else None,
            repository=request.repository if request else None,
            status=call.status,
            received=call.body.received,
            sent=call.sent,
            duration=duration,
        )


def _is_ours(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, (OCIError, HTTPError)):
            return True
        error = error.__cause__
    return False
