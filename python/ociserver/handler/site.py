"""What all requests of one handler share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociserver._core import RequestIds
    from ociserver.handler.deadlines import Deadlines
    from ociserver.handler.pace import Pace
    from ociserver.interface import Backend
    from ociserver.options import Options

__all__ = ["Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """One registry, as the handler serves it.

    Args:
        backend: holds the contents.
        options: how the handler behaves.
        request_ids: names requests that bring no id.
        deadlines: bounds how long a request's body may make no progress.
        pace: bounds how many events are received each second from bodies that come in tiny pieces.
    """

    backend: Backend
    options: Options
    request_ids: RequestIds
    deadlines: Deadlines
    pace: Pace
