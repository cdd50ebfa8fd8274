"""Measures a workload while other workloads run: how long small requests wait behind large transfers."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ociserver.bench.prepared import Prepared, Progress
from ociserver.bench.workload import Result
from ociserver.bench.workloads import Settings

__all__ = ["LOADED", "Loaded", "background_settings"]

_LEAD_S: Final = 0.5
"""How many seconds the other workloads start earlier and end later, so that they run all the time."""

_TRANSFERS: Final = ("upload-put-parallel", "download-parallel")

LOADED: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "manifest-get-tag-loaded": ("manifest-get-tag", _TRANSFERS),
    "image-push-loaded": ("image-push", _TRANSFERS),
}
"""The name of the measured workload, and those of the workloads that run meanwhile, each with its own clients."""


def background_settings(settings: Settings) -> Settings:
    """The settings of the workloads that run meanwhile."""
    return dataclasses.replace(
        settings, repository=f"{settings.repository}/beside", seconds=settings.seconds + 2 * _LEAD_S
    )


class Loaded:
    """One workload on one registry, while others run on it.

    Args:
        name: of the results.
        measured: the workload whose figures count.
        background: the workloads that run meanwhile, with `background_settings`.
    """

    def __init__(self, name: str, measured: Prepared, background: Sequence[Prepared]) -> None:
        self._name = name
        self._measured = measured
        self._background = background

    @property
    def failed(self) -> str | None:
        """Why nothing more can be measured, or None."""
        return next((one.failed for one in self._all() if one.failed), None)

    def set_up(self) -> None:
        """Push what is read later."""
        for one in self._all():
            one.set_up()

    def make_ready(self) -> None:
        """Prepare the next operations of the workloads that write."""
        for one in self._all():
            one.make_ready()

    def measure(self, progress: Progress = lambda done: None) -> Result:
        """Measure once. The result has the rates of the other workloads in `beside`."""
        self.make_ready()
        if self.failed:
            return dataclasses.replace(self._measured.result(), name=self._name, failed=self.failed)
        with ThreadPoolExecutor(len(self._background)) as threads:
            running = [threads.submit(one.measure) for one in self._background]
            time.sleep(_LEAD_S)
            result = self._measured.measure(progress)
            beside = [one.result() for one in running]
        result.name = self._name
        result.beside = {one.name: one.rate for one in beside}
        result.failed = result.failed or next((f"{one.name}: {one.failed}" for one in beside if one.failed), None)
        return result

    def clean(self) -> Counter[str]:
        """Delete what was pushed. Returns how many deletions failed, by status or kind."""
        left: Counter[str] = Counter()
        for one in self._all():
            left.update(one.clean())
        return left

    def _all(self) -> list[Prepared]:
        return [self._measured, *self._background]
