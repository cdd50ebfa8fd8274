"""Counts of what clients did, and how long it took."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import quantiles


@dataclass(slots=True)
class Tally:
    """Counts by name, and the durations of complete successful pushes and pulls."""

    counts: Counter[str] = field(default_factory=Counter)
    push_s: list[float] = field(default_factory=list)
    pull_s: list[float] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.push_s += other.push_s
        self.pull_s += other.pull_s


def percentiles_ms(times_s: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in milliseconds."""
    cuts = quantiles(times_s, n=100)
    return cuts[49] * 1000, cuts[98] * 1000
