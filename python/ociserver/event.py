"""What the handler reports about each finished request."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Event"]


class Event(NamedTuple):
    """A finished request, for logs and metrics. A tuple, because a frozen dataclass takes three times as long to make.

    Args:
        request_id: the id in log lines and in the context of the request.
        client: address of the client, behind trusted proxies the one that they report; "" if the server does not
            report it.
        method: as received.
        path: as received, percent-encoded.
        kind: the kind of the parsed request; None if it could not be parsed.
        repository: the repository; None if the request names none.
        status: the status of the answer; 0 if none was sent.
        received: bytes of the body that were read.
        sent: bytes of the body that were sent.
        duration: seconds.
        user: the name of the user; "" if nobody has signed in.
        via: how the user signed in, see `ociserver.auth.Identity`.
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
    user: str = ""
    via: str = ""
