"""The context of a request: what a backend can read about it, and what it can add to the answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["MAX_WARNINGS", "RequestContext", "request_context", "retry_until", "trace_headers"]

MAX_WARNINGS: Final = 16
"""The most Warning headers in one response: every client must be able to read the headers."""


class RequestContext:
    """The only side channel between the handler and a backend.

    For the backend to read: `request_id`; `user` and `auth`, which an authentication middleware has put into the ASGI
    scope (who asks, and what they may do); `namespace`, the `ns` parameter. For the backend to set: `warn`, and
    `served_from`, the namespace that answered (sent as OCI-Namespace).
    """

    request_id: str
    user: Any
    auth: Any
    namespace: str | None
    served_from: str | None = None
    warnings: tuple[str, ...] = ()

    def __init__(self, request_id: str, *, user: Any = None, auth: Any = None, namespace: str | None = None) -> None:
        self.request_id = request_id
        self.user = user
        self.auth = auth
        self.namespace = namespace

    def warn(self, text: str) -> None:
        """Send a warning to the client, which does not fail the request (spec: warnings).

        It is sent as `Warning: 299 - "text"`. Characters other than printable ASCII become `?`. Warnings after the
        first `MAX_WARNINGS` are dropped.
        """
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings += (text,)


request_context: ContextVar[RequestContext | None] = ContextVar("ociserver_request", default=None)
"""The context of the request that the current task serves; None outside of a request."""

retry_until: ContextVar[float | None] = ContextVar("ociserver_retry_until", default=None)
"""Time (`time.monotonic`) after which a backend that calls a registry elsewhere does not retry.

A caller that has another answer sets it. None: the backend's own settings apply.
"""

trace_headers: ContextVar[Mapping[str, str] | None] = ContextVar("ociserver_trace", default=None)
"""Headers such as `traceparent` that a backend sends to a registry elsewhere, so that both are in one trace."""
