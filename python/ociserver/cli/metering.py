"""`--metrics-address`: the metrics of a server, in whichever of its processes."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ociserver.cli.configured import Values
from ociserver.serve.errors import CannotServeError
from ociserver.serve.stores import Store
from ociserver.serve.workers import Worker
from ociserver.store import Store as AnyStore

if TYPE_CHECKING:
    from ociserver.metrics.recorder import Recorder
    from ociserver.metrics.shared import Shared

__all__ = ["Metering", "metering_from"]

_log = logging.getLogger("ociserver.metrics")


class Metering:
    """Counts in this process, and in the parent or the only process answers scrapes.

    Args:
        shared: the numbers of all processes.
        recorder: counts in this process.
        listening: the socket for scrapes; None in a worker.
    """

    def __init__(self, shared: Shared, recorder: Recorder, listening: socket.socket | None) -> None:
        self.shared = shared
        self.recorder = recorder
        self._listening = listening

    def say_where(self) -> None:
        """Log the address of the metrics."""
        if self._listening is not None:
            host, port = self._listening.getsockname()[:2]
            _log.info("metrics are at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)

    @contextmanager
    def served(self, stores: Sequence[Store]) -> Iterator[None]:
        """Answer scrapes until the block ends."""
        if self._listening is None:
            yield
            return
        from prometheus_client import CollectorRegistry

        from ociserver.metrics.collector import Totals
        from ociserver.metrics.listener import Listener
        from ociserver.metrics.processes import Processes
        from ociserver.metrics.stored import Stored

        backends: list[Any] = [each.backend for each in stores]
        folders = [each.path for each in backends if isinstance(each, AnyStore) and each.has_folder]
        registry = CollectorRegistry()
        registry.register(Totals(self.shared, Stored([each.figures for each in backends], folders), Processes()))
        listener = Listener(self._listening, registry)
        listener.start()
        try:
            yield
        finally:
            listener.stop()


def metering_from(values: Values, worker: Worker | None) -> Metering | None:
    """The metrics of this process; None if they are off.

    Args:
        values: the flags.
        worker: this process as a worker; None: it is the parent, or the only process.

    Raises:
        CannotServeError: the extra is not installed, or the address cannot be used.
    """
    address: tuple[str, int] | None = values["metrics_address"]
    if address is None:
        return None
    try:
        from ociserver.metrics.listener import listen
        from ociserver.metrics.recorder import Recorder
        from ociserver.metrics.shared import Shared
    except ModuleNotFoundError as error:
        raise CannotServeError(
            f"--metrics-address needs a package that is not installed ({error}). Install it: "
            "pip install 'ociserver[metrics]'"
        ) from error
    count: int = values["workers"]
    # The parent of several workers has a place too, after theirs: it counts collections.
    places = count + 1 if count > 1 else 1
    if worker is not None:
        if worker.shared is None:
            # It replaces another worker, and the address was added to the file after the start of the parent.
            return None
        shared = Shared(worker.shared, places)
        return Metering(shared, Recorder(shared.place(worker.place)), None)
    host, port = address
    try:
        listening = listen(host, port)
    except OSError as error:
        raise CannotServeError(
            f"cannot answer scrapes at {host}:{port}: {_reason(error)}. Set --metrics-address to a free "
            "address of this machine."
        ) from error
    shared = Shared.create(places)
    return Metering(shared, Recorder(shared.place(places - 1), is_worker=count == 1), listening)


def _reason(error: OSError) -> str:
    # `socket.create_server` repeats the address in its text. The numbers of `gaierror` are its own.
    return (isinstance(error, socket.gaierror) and error.strerror) or os.strerror(error.errno or 0)
