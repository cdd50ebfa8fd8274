"""Scheduled collection, beside the server for which it frees space."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Final, Protocol

from ociserver.units import format_size

__all__ = ["BUSY", "CollectionMeter", "Schedule"]

_log = logging.getLogger("ociserver.collect")

BUSY: Final = 3
"""Exit status of `ociserver collect` if another collection, or a backup, is running on the store."""

STOP_S: Final = 5.0
"""How long a running collection may take to end when the server stops, before it is killed. It can be interrupted at
any point."""


class CollectionMeter(Protocol):
    """Is told of collections, for metrics."""

    def collected(self, seconds: float, freed_bytes: int, at: float) -> None:
        """A collection has succeeded."""

    def collection_failed(self) -> None:
        """A collection has failed."""


class Schedule:
    """Runs `ociserver collect` at intervals, in a process of its own.

    That process uses neither the GIL nor the memory of the server, and its failures do not concern the server.

    Args:
        arguments: for `ociserver collect`.
        interval_s: seconds between the end of one collection and the start of the next.
        stop_s: how long a collection may take to end before it is killed.
        meter: is told of collections.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        interval_s: float,
        stop_s: float = STOP_S,
        *,
        meter: CollectionMeter | None = None,
    ) -> None:
        self._meter = meter
        self._command = [sys.executable, "-m", "ociserver", "collect", "--json", *arguments]
        self._interval_s = interval_s
        self._stop_s = stop_s
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="ociserver-collect", daemon=True)

    def start(self) -> None:
        """Begin the interval before the first collection."""
        self._thread.start()

    def stop(self) -> None:
        """End the schedule, and a collection that is running."""
        self._stop.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(self._stop_s)
        process = self._process
        if process is not None and process.poll() is None:
            # It does not respond, and may hold a lock that the next server needs.
            process.kill()
            self._thread.join(self._stop_s)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._collect()
            except OSError:
                _log.exception("collection could not be started; the next attempt is in %g s", self._interval_s)
                self._failed()

    def _failed(self) -> None:
        if self._meter:
            self._meter.collection_failed()

    def _collect(self) -> None:
        began = time.monotonic()
        with subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            self._process = process
            if self._stop.is_set():
                # `stop` may have looked before this process was there.
                process.terminate()
            output, errors = process.communicate()
        if self._stop.is_set():
            return
        if process.returncode == BUSY:
            # Usually that of another node.
            _log.info("another collection is running; the next attempt is in %g s", self._interval_s)
            return
        if process.returncode != 0:
            reason = errors.strip() or f"it exited with status {process.returncode}"
            _log.warning("collection failed: %s; the next attempt is in %g s", reason, self._interval_s)
            self._failed()
            return
        report = json.loads(output)
        if self._meter:
            self._meter.collected(time.monotonic() - began, report["freed_bytes"], time.time())
        if report["counts"]:
            counts = ", ".join(f"{count} {reason}" for reason, count in report["counts"].items())
            _log.info("collected %s: %s freed", counts, format_size(report["freed_bytes"]))
