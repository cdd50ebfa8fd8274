"""Prepares workloads on a registry, measures them, and deletes what they pushed."""

from __future__ import annotations

from collections import Counter

from ociserver.bench.prepared import Prepared, Progress
from ociserver.bench.pushes import Pushes
from ociserver.bench.target import Target
from ociserver.bench.workload import Result
from ociserver.bench.workloads import WORKLOADS, Settings

__all__ = ["Bench"]


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

    def prepare(self, name: str) -> Prepared:
        """Prepare one workload, to be measured in rounds."""
        return Prepared(name, self._target, self._settings, WORKLOADS[name](self._settings, self._pushes))

    def run(self, name: str, progress: Progress = lambda done: None) -> Result:
        """Measure one workload. Errors of the registry are in the result."""
        prepared = self.prepare(name)
        try:
            return prepared.measure(progress)
        finally:
            if not self._keep:
                self.left.update(prepared.clean())
