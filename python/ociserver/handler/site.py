"""The objects that all requests of one handler share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociserver._core import RequestIds
    from ociserver.handler.authority import Authority
    from ociserver.handler.body import BodyLimits
    from ociserver.handler.deadlines import Deadlines
    from ociserver.handler.pace import Pace
    from ociserver.handler.redirects import Redirects
    from ociserver.interface import Backend
    from ociserver.meter import Meter
    from ociserver.options import Options

__all__ = ["Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """One registry, as the handler serves it.

    Args:
        backend: holds the contents, as the client of the current request may use them.
        options: how the handler behaves.
        redirects: says which clients may be redirected.
        request_ids: makes the ids of requests that have none.
        deadlines: the timeouts of all bodies.
        pace: bounds the events in a second of bodies in tiny pieces.
        body_limits: limits on the time that a body may take.
        auth: knows the clients and their rights; None: everybody may do everything.
        meter: is told of requests and errors; None: nobody counts them.
    """

    backend: Backend
    options: Options
    redirects: Redirects
    request_ids: RequestIds
    deadlines: Deadlines
    pace: Pace
    body_limits: BodyLimits
    auth: Authority | None
    meter: Meter | None
