"""Collection by a schedule, beside the server that it frees space for."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Final

from ociserver.units import format_size

__all__ = ["Schedule"]

_log = logging.getLogger("ociserver.collect")

STOP_S: Final = 5.0
"""How long a collection that is under way may take to end when the server stops, before it is killed; it can be cut off
anywhere."""


class Schedule:
    """Runs `ociserver collect` now and then, in a process of its own.

    So it takes neither the server's GIL nor its memory, and whatever happens to it happens to it alone.

    Args:
        arguments: of `ociserver collect`.
        every_s: seconds between the end of one collection and the start of the next.
        stop_s: how long a collection may take to end before it is killed.
    """

    def __init__(self, arguments: Sequence[str], every_s: float, stop_s: float = STOP_S) -> None:
        self._stop_s = stop_s
        self._command = [sys.executable, "-m", "ociserver", "collect", "--json", *arguments]
        self._every_s = every_s
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="ociserver-collect", daemon=True)

    def start(self) -> None:
        """Begin to wait for the first one."""
        self._thread.start()

    def stop(self) -> None:
        """End the waiting, and a collection that is under way."""
        self._stop.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(self._stop_s)
        if process is not None and process.poll() is None:
            # It stands still, perhaps with a lock that the next server needs.
            process.kill()
            self._thread.join(self._stop_s)

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                self._collect()
            except OSError:
                _log.exception("collection could not be started")

    def _collect(self) -> None:
        with subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            self._process = process
            output, errors = process.communicate()
        if self._stop.is_set():
            return
        if process.returncode != 0:
            _log.warning("collection failed: %s", errors.strip() or f"status {process.returncode}")
            return
        report = json.loads(output)
        if report["counts"]:
            counts = ", ".join(f"{count} {reason}" for reason, count in report["counts"].items())
            _log.info("collected %s: %s freed", counts, format_size(report["freed_bytes"]))
