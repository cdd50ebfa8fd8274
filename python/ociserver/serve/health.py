"""`/healthz` and `/readyz`, in front of the handler.

* `/healthz` answers 200 as long as the process runs.
* `/readyz` answers 200 from the time when the backend is open until the shutdown begins, unless a store reports that it
  cannot be written to. Otherwise it answers 503, with the reason as text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from ociserver.types import Receive, Scope, Send

__all__ = ["HEALTH", "READY", "Application", "Readiness", "with_health"]

HEALTH: Final = "/healthz"
READY: Final = "/readyz"

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Readiness:
    """Whether clients should send requests here.

    Args:
        reason: why they should not, from the server's side; None if they should. The server sets it.
        unavailable: called for each question; returns a reason from the stores' side, or None.
    """

    __slots__ = ("_unavailable", "reason")

    def __init__(self, reason: str | None, unavailable: Callable[[], str | None] = lambda: None) -> None:
        self.reason = reason
        self._unavailable = unavailable

    def why_not(self) -> str | None:
        """Why clients should send requests elsewhere; None if they should not."""
        return self.reason or self._unavailable()


def with_health(app: Application, readiness: Readiness) -> Application:
    """Answer the two paths, and pass everything else to `app`."""

    # Not a coroutine function, so that other requests cost only a comparison here.
    def health_or_app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["path"] in (HEALTH, READY):
            return _answer(scope, send, readiness)
        return app(scope, receive, send)

    return health_or_app


async def _answer(scope: Scope, send: Send, readiness: Readiness) -> None:
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"no-store"),
    ]
    if scope["method"] not in ("GET", "HEAD"):
        status, text = 405, "method not allowed"
        headers.append((b"allow", b"GET, HEAD"))
    elif scope["path"] == READY and (reason := readiness.why_not()) is not None:
        status, text = 503, reason
    else:
        status, text = 200, "ok"
    content = f"{text}\n".encode()
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
