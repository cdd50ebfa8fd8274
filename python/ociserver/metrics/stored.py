"""What the stores hold. It is counted at most so often that it costs little, whatever they hold."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from ociserver.meter import Figures

__all__ = ["Stored"]

_log = logging.getLogger("ociserver.metrics")

WAIT_S: Final = 0.25
"""Seconds that a scrape waits for new figures. After that it gets the last ones."""

MIN_AGE_S: Final = 1.0
"""Seconds for which figures are not counted again."""

COST_FACTOR: Final = 100.0
"""How much longer than the counting took its result is used: so counting takes 1 % of a core at most."""


class Stored:
    """Counts in a thread of its own, when a scrape asks.

    Args:
        sources: each counts what one store holds, in any thread.
        folders: of the stores, for the space on their disks.
        wait_s: see `WAIT_S`.
        min_age_s: see `MIN_AGE_S`.
    """

    def __init__(
        self,
        sources: Sequence[Callable[[], Figures]],
        folders: Sequence[Path] = (),
        *,
        wait_s: float = WAIT_S,
        min_age_s: float = MIN_AGE_S,
    ) -> None:
        self._sources = sources
        self._folders = folders
        self._wait_s = wait_s
        self._min_age_s = min_age_s
        self._lock = threading.Lock()
        self._counting: threading.Thread | None = None
        self._figures: tuple[Figures, float] | None = None
        self._due = 0.0

    def collect(self) -> Iterator[Metric]:
        """The metrics. Until the first counting has ended, there are only those of the disks."""
        found = self._current() if self._sources else None
        if found is not None:
            figures, at = found
            yield GaugeMetricFamily("ociserver_blobs", "Blobs in the stores, each counted once.", figures.blobs)
            yield GaugeMetricFamily("ociserver_stored_bytes", "Bytes of these blobs.", figures.blob_bytes)
            yield GaugeMetricFamily("ociserver_manifests", "Manifests in the stores.", figures.manifests)
            yield GaugeMetricFamily("ociserver_uploads_open", "Uploads that have begun and not ended.", figures.uploads)
            yield GaugeMetricFamily(
                "ociserver_stored_timestamp_seconds",
                "When the contents of the stores were last counted, in seconds since 1970.",
                at,
            )
        free = _free(self._folders)
        if free is not None:
            yield GaugeMetricFamily(
                "ociserver_disk_available_bytes",
                "Free bytes on the disk of the stores; of several disks, on the fullest one.",
                free,
            )

    def _current(self) -> tuple[Figures, float] | None:
        with self._lock:
            counting = self._counting
            if counting is None and time.monotonic() >= self._due:
                counting = self._counting = threading.Thread(target=self._count, name="ociserver-figures", daemon=True)
                counting.start()
        if counting is not None:
            counting.join(self._wait_s)
        return self._figures

    def _count(self) -> None:
        began = time.monotonic()
        try:
            each = [source() for source in self._sources]
            self._figures = (
                Figures(
                    sum(one.blobs for one in each),
                    sum(one.blob_bytes for one in each),
                    sum(one.manifests for one in each),
                    sum(one.uploads for one in each),
                ),
                time.time(),
            )
        except Exception as error:
            # For example before the store was opened for the first time. The next scrape tries again.
            _log.debug("the contents of the stores could not be counted: %s", error)
        ended = time.monotonic()
        with self._lock:
            self._due = ended + max(self._min_age_s, COST_FACTOR * (ended - began))
            self._counting = None


def _free(folders: Sequence[Path]) -> int | None:
    found: list[int] = []
    for folder in folders:
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        found.append(disk.f_bavail * disk.f_frsize)
    return min(found, default=None)
