"""The ASGI application: lifespan and dispatch."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from ociserver._core import NowaitReader, RequestIds, parse_request
from ociserver.adapt import complete
from ociserver.backend_like import BackendLike
from ociserver.checked_results import shown
from ociserver.context import request_context
from ociserver.errors import OCIError
from ociserver.event import Event
from ociserver.handler import blobs, lists, manifests, uploads
from ociserver.handler.authority import Authority
from ociserver.handler.body import TINY_EVENTS_PER_S, BodyLimits
from ociserver.handler.call import Call, raw_path
from ociserver.handler.deadlines import Deadlines
from ociserver.handler.errors import fail
from ociserver.handler.nowait import nowait_reader
from ociserver.handler.pace import Pace
from ociserver.handler.redirects import Redirects
from ociserver.handler.responses import Answer, empty
from ociserver.handler.site import Site
from ociserver.interface import Backend
from ociserver.meter import Meter
from ociserver.options import Options
from ociserver.proxies import TrustedProxies
from ociserver.types import Receive, Scope, Send

if TYPE_CHECKING:
    from ociserver.auth.identity import Identity

__all__ = ["Handler"]

_log = logging.getLogger("ociserver")
_debug_ids = itertools.count(1)
_request_ids: dict[str, RequestIds] = {}
"""By debug id. A later handler with the same id, for example after a reload, continues the numbers."""


async def _ping(call: Call) -> Answer:
    # end-1, GET /v2/: 200, 404/401
    return empty(200, [])


_TABLE: Final[dict[str, Callable[[Call], Awaitable[Answer | None]]]] = {
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
        backend: holds the contents. Any object with some of the methods of `Backend`. If it is not one of ours, each
            call is checked: what it returns by mistake is a 500, and the log names the method.
        options: how the handler behaves; by default as the spec says.
        auth: who is asking, and what they may do: an `ociserver.auth.Auth`. Without it everybody may do everything.
        observe: called with an `Event` after each request, in the thread that answered it. It must be quick.
        body_limits: limits on the time that the body of a request may take.
        proxies: the proxies that are believed about the address of a client, and about the scheme and host that it has
            asked. Without it, the client is whoever has opened the connection.
        meter: is told of requests and errors, for metrics.

    It belongs at the root of a site, where clients look for `/v2/`. If it is mounted below a prefix, it adds the prefix
    to each Location and Link, and a reverse proxy has to map `/v2/` to the prefix.

    The ASGI lifespan opens and closes the backend. Where a mount runs no lifespan, the first request opens the
    backend, and `aclose` closes it. `async with handler` does both.

    Raises:
        TypeError: the backend is a class, has none of the methods, or has one that cannot be called as it should;
            or the options are something else.
    """

    def __init__(
        self,
        backend: BackendLike,
        options: Options | None = None,
        *,
        auth: Authority | None = None,
        observe: Callable[[Event], None] | None = None,
        body_limits: BodyLimits | None = None,
        proxies: TrustedProxies | None = None,
        meter: Meter | None = None,
    ) -> None:
        options = Options() if options is None else options
        if not isinstance(options, Options):
            raise TypeError(f"options is {shown(options)}; it must be an ociserver.Options")
        if given := options.debug_id:
            self.debug_id = given
            request_ids = _request_ids.setdefault(given, RequestIds(given))
        else:
            self.debug_id = f"ociserver{next(_debug_ids)}"
            request_ids = RequestIds(self.debug_id)
        self._backend = complete(backend)
        self._given = backend if isinstance(backend, Backend) else self._backend
        self.site = Site(
            self._backend if auth is None else auth.guard(self._backend),
            options,
            Redirects(options),
            request_ids,
            Deadlines(),
            Pace(TINY_EVENTS_PER_S),
            body_limits or BodyLimits(),
            auth,
            meter,
        )
        self._observe = observe
        self._proxies = proxies
        self._meter = meter
        self._opened = False
        self._opening = asyncio.Lock()
        self._nowait: NowaitReader | None = None

    @property
    def backend(self) -> Backend:
        """The backend, which holds the contents."""
        return self._given

    @property
    def options(self) -> Options:
        """How the handler behaves."""
        return self.site.options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._proxies is not None and scope["type"] == "http":
            scope = self._proxies.resolve(scope)
        if self._nowait is not None:
            found = self._nowait.answer(scope)
            if found is not None:
                start, body, answered = found
                try:
                    await send(start)
                    await send(body)
                finally:
                    if answered is not None:
                        answered.report()
                return
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        call = Call(self.site, scope, receive, send)
        token = request_context.set(call)
        began = self._begin()
        try:
            answer = await self._answer(call)
            if call.identity is not None:
                # Before it is sent: the change is made, even if the client does not get the answer.
                self._record(call, call.identity, answer[0] if answer else call.status)
            if answer:
                # Without an answer here, the function has sent it, piece by piece.
                status, headers, content = answer
                call.sent = len(content)
                await send(call.head(status, headers))
                await send({"type": "http.response.body", "body": content, "more_body": False})
        except Exception as error:
            if call.identity is not None and isinstance(error, OCIError):
                self._record(call, call.identity, 0, error)
            await fail(call, error)
        finally:
            request_context.reset(token)
            if call.has_body:
                if call.body.pending:
                    await call.body.drain()
                call.body.close()
            if began is not None:
                self._report(call, time.perf_counter() - began)

    async def _answer(self, call: Call) -> Answer | None:
        """The answer to a request. None: it was sent, piece by piece."""
        scope, auth = call.scope, self.site.auth
        token_path = None if auth is None else auth.token_path
        if auth is not None and token_path is not None and call.own_path() == call.path(token_path).encode():
            # Imported late: it needs most of `ociserver.auth`, which a registry without users does not load.
            from ociserver.handler.token import token

            if not self._opened:
                # The backend may have the API keys.
                await self._open()
            return await token(call, auth)
        path = scope.get("raw_path") or raw_path(scope)
        request = call.request = parse_request(scope["method"], path, scope["query_string"], call.root.encode())
        if not self._opened:
            await self._open()
        if auth is not None:
            call.identity = await auth.identify(scope, request)
            auth.check(scope, request, call.identity)
        return await _TABLE[request.kind](call)

    def _record(self, call: Call, identity: Identity, status: int, error: OCIError | None = None) -> None:
        request, auth = getattr(call, "request", None), self.site.auth
        # A request for a token is none of the distribution API.
        if request is None or auth is None:
            return
        if error is None:
            auth.finished(call.scope, request, identity, status, call.pushed)
        elif error.code == "DENIED":
            auth.denied(call.scope, request, identity)

    def answer_nowait(self, scope: Scope, send: Send) -> bool:
        """Answer a read for which the backend need not wait, without the event loop.

        Any thread may call it. The `send` of the server must have done its work when it returns, awaited or not.

        Returns:
            Whether the request was answered. If not, the server calls the handler as usual.
        """
        nowait = self._nowait
        if nowait is None:
            return False
        found = nowait.answer(scope if self._proxies is None else self._proxies.resolve(scope))
        if found is None:
            return False
        start, body, answered = found
        send(start)
        send(body)
        if answered is not None:
            try:
                answered.report()
            except Exception:
                # If this were raised, the server would take the request for unanswered.
                _log.exception("%s: observe failed", self.debug_id)
        return True

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise RuntimeError(f"ociserver serves http, not {scope['type']}")
        await self._lifespan(receive, send)

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the backend. The next request opens it again."""
        if self._opened:
            self._opened = False
            self._nowait = None
            try:
                if self.site.auth is not None:
                    await self.site.auth.aclose()
            finally:
                await self._backend.__aexit__(None, None, None)

    async def _open(self) -> None:
        async with self._opening:
            if not self._opened:
                await self._backend.__aenter__()
                self._opened = True
                self._nowait = nowait_reader(self.site, self._backend, self._observe)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._open()
        except Exception as error:
            _log.exception("%s: the backend could not be opened", self.debug_id)
            await send({"type": "lifespan.startup.failed", "message": f"the backend could not be opened: {error}"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await self.aclose()
        except Exception as error:
            _log.exception("%s: the backend could not be closed", self.debug_id)
            await send({"type": "lifespan.shutdown.failed", "message": f"the backend could not be closed: {error}"})
            return
        await send({"type": "lifespan.shutdown.complete"})

    def _begin(self) -> float | None:
        """When a request begins; None if nobody wants to know."""
        if self._meter is not None:
            self._meter.request_began()
        elif self._observe is None:
            return None
        return time.perf_counter()

    def _report(self, call: Call, duration: float) -> None:
        event = self._event(call, duration)
        if self._meter is not None:
            self._meter.request_ended(event)
        if self._observe is not None:
            self._observe(event)

    def _event(self, call: Call, duration: float) -> Event:
        request = getattr(call, "request", None)
        kind, repository = (request.kind, request.repository) if request else (None, None)
        client = call.scope.get("client")
        return Event(
            call.request_id,
            client[0] if client else "",
            call.scope["method"],
            raw_path(call.scope),
            kind,
            repository,
            call.status,
            call.received,
            call.sent,
            duration,
            *(() if call.identity is None else (call.identity.name, call.identity.via)),
        )
