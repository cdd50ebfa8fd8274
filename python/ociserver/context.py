"""What a backend may know of the request that it serves, and what it may add to the answer."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

__all__ = ["MAX_WARNINGS", "RequestContext", "request_context", "retry_until"]

MAX_WARNINGS: Final = 16
"""Most Warning headers on one response: a header block has to stay small enough for every client."""


class RequestContext:
    """The side channel between the handler and a backend; there is no other.

    In: `request_id`; `user` and `auth`, as an authentication middleware left them in the ASGI scope
    (who asks, what they may do); `namespace`, the `ns` parameter. Out: `warn`, and `served_from`, the
    namespace that answered (sent as OCI-Namespace).
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
        """Tell the client something that does not fail the request (spec: warnings).

        Sent as `Warning: 299 - "text"`; what is no printable ASCII becomes `?`, and `MAX_WARNINGS` count.
        """
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings += (text,)


request_context: ContextVar[RequestContext | None] = ContextVar("ociserver_request", default=None)
"""The request that the current task serves; None outside of one."""

retry_until: ContextVar[float | None] = ContextVar("ociserver_retry_until", default=None)
"""Time (`time.monotonic`) after which a backend that calls a registry elsewhere does not retry.

A caller that has another answer sets it. None: the backend's own settings apply.
"""
