"""Prepares workloads on a registry, measures them, and deletes what they pushed."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ociserver.bench.loaded import LOADED, Loaded, background_settings
from ociserver.bench.prepared import Prepared, Progress
from ociserver.bench.pushes import Pushes
from ociserver.bench.target import Target
from ociserver.bench.workload import Result
from ociserver.bench.workloads import WORKLOADS, Settings

__all__ = ["NAMES", "Bench"]

NAMES: Final = (*WORKLOADS, *LOADED)
"""The names of all workloads, in the order in which they run."""


class Bench:
    """Measures one registry.

    Args:
        target: the registry.
        settings: how to measure.
        keep: do not delete what was pushed.
    """

    def __init__(self, target: Target, settings: Settings, *, keep: bool = False) -> None:
        self._target = target
        self._settings = settings
        self._keep = keep
        self._pushes = Pushes(target.prefix)
        self.left: Counter[str] = Counter()
        """Deletions that failed, by status or kind."""

    def prepare(self, name: str) -> Prepared | Loaded:
        """Prepare one workload, to be measured in rounds."""
        if name in WORKLOADS:
            return self._prepare(name, self._settings)
        measured, background = LOADED[name]
        beside = background_settings(self._settings)
        return Loaded(name, self._prepare(measured, self._settings), [self._prepare(one, beside) for one in background])

    def _prepare(self, name: str, settings: Settings) -> Prepared:
        return Prepared(name, self._target, settings, WORKLOADS[name](settings, self._pushes))

    def run(self, name: str, progress: Progress = lambda done: None) -> Result:
        """Measure one workload. Errors of the registry are in the result."""
        prepared = self.prepare(name)
        try:
            return prepared.measure(progress)
        finally:
            if not self._keep:
                self.left.update(prepared.clean())
