"""Traces of OpenTelemetry: one span for each request. They need the extra `ociserver[otel]`.

    tracing = Tracing(provider)
    app = tracing.wrap(ociserver.Handler(backend, observe=tracing.observe))

The attributes are those of the semantic conventions for HTTP servers. Queries are left out, because they may have the
state of an upload.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from ociserver._core import __version__
from ociserver.context import trace_headers

if TYPE_CHECKING:
    from ociserver.event import Event
    from ociserver.types import Receive, Scope, Send

__all__ = ["Tracing"]

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER: Final = "_OTHER"

_Application = Callable[["Scope", "Receive", "Send"], Awaitable[None]]
_Value = str | int


class Tracing:
    """Makes a span for each request of an application.

    A `traceparent` of the client is continued. What the request asks of other registries carries the span's own.

    Args:
        provider: what exports the spans.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("ociserver", __version__)

    def wrap(self, app: _Application) -> _Application:
        """The application with a span around each of its requests."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            received = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            method = scope["method"] if scope["method"] in _METHODS else _OTHER
            with self._tracer.start_as_current_span(
                "HTTP" if method == _OTHER else method,
                propagate.extract(received),
                SpanKind.SERVER,
                _attributes(scope, method, received),
                set_status_on_exception=False,
            ):
                sent: dict[str, str] = {}
                propagate.inject(sent)
                token = trace_headers.set(sent)
                try:
                    await app(scope, receive, send)
                finally:
                    trace_headers.reset(token)

        return traced

    def observe(self, event: Event) -> None:
        """Add to the current span what is known at the end of a request."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        if event.kind is not None:
            span.set_attribute("http.route", event.kind)
            span.update_name(f"{event.method} {event.kind}")
        if event.repository is not None:
            span.set_attribute("ociserver.repository", event.repository)
        if event.client:
            span.set_attribute("client.address", event.client)
        if event.request_id:
            span.set_attribute("ociserver.request_id", event.request_id)
        span.set_attribute("http.request.body.size", event.received)
        span.set_attribute("http.response.body.size", event.sent)
        if event.status:
            span.set_attribute("http.response.status_code", event.status)
        if event.status >= 500:
            span.set_attribute("error.type", str(event.status))
            span.set_status(Status(StatusCode.ERROR))


def _attributes(scope: Scope, method: str, headers: dict[str, str]) -> dict[str, _Value]:
    found: dict[str, _Value] = {
        "http.request.method": method,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"],
        "network.protocol.version": scope["http_version"],
    }
    if method == _OTHER:
        found["http.request.method_original"] = scope["method"]
    if agent := headers.get("user-agent"):
        found["user_agent.original"] = agent
    if server := scope.get("server"):
        found["server.address"], found["server.port"] = server[0], int(server[1] or 0)
    if client := scope.get("client"):
        found["network.peer.address"], found["network.peer.port"] = client[0], int(client[1])
    return found
