"""The metrics of a registry: what counts, and what answers a scrape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, make_asgi_app

from ociserver.meter import Figures, Meter
from ociserver.metrics.collector import Totals
from ociserver.metrics.processes import Processes
from ociserver.metrics.recorder import Recorder
from ociserver.metrics.shared import Shared
from ociserver.metrics.stored import Stored

if TYPE_CHECKING:
    from ociserver.types import Receive, Scope, Send

__all__ = ["Metrics"]


class Metrics:
    """Metrics of handlers and their backends, in one process.

    It is an ASGI application that answers a scrape. Keep it away from the public, for example on another port.

    Args:
        figures: methods that count what backends hold: `Memory.figures` or `Store.figures`.
        folders: of stores, for the free space on their disks.
    """

    def __init__(self, figures: Sequence[Callable[[], Figures]] = (), folders: Sequence[Path] = ()) -> None:
        self._shared = Shared.create(1)
        self.meter: Meter = Recorder(self._shared.place(0))
        """For `Handler`, `Store`, `compose.Cache` and `auth.Auth`."""
        self.registry = CollectorRegistry()
        """Metrics of your own can be registered here too."""
        self.registry.register(Totals(self._shared, Stored(figures, folders), Processes()))
        self._app: Any = make_asgi_app(self.registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
