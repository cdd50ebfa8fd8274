"""Decides whether one commit is slower than another, from alternating rounds of the same benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

LEAST_ROUNDS: Final = 3
"""Fewer rounds give no useful spread."""

Rounds = Sequence[Mapping[str, float]]
"""For each round, the seconds of each benchmark by name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One benchmark: its seconds in each round, for the base commit and for the current one."""

    name: str
    base: Sequence[float]
    now: Sequence[float]

    @property
    def ratio(self) -> float:
        """The ratio of the medians. Above 1 is slower."""
        return median(self.now) / median(self.base)

    @property
    def spread(self) -> float:
        """The spread of the rounds of one commit, relative to their median: the wider of the two."""
        return max((max(times) - min(times)) / median(times) for times in (self.base, self.now))

    @property
    def is_slower(self) -> bool:
        """Whether it is slower by more than the same code varies."""
        return self.ratio > 1 + self.spread


def compare(base: Rounds, now: Rounds) -> list[Row]:
    """Return the rows of the benchmarks that both commits have, sorted by how much slower they became.

    Raises:
        ValueError: a benchmark is missing in some rounds, or there are too few rounds.
    """
    if min(len(base), len(now)) < LEAST_ROUNDS:
        raise ValueError(f"each commit needs at least {LEAST_ROUNDS} rounds")
    for rounds in (base, now):
        if any(times.keys() != rounds[0].keys() for times in rounds):
            raise ValueError("the rounds have different benchmarks")
    names = [name for name in base[0] if name in now[0]]
    rows = [Row(name, [times[name] for times in base], [times[name] for times in now]) for name in names]
    return sorted(rows, key=lambda row: (not row.is_slower, -row.ratio))


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of medians, ratio and spread."""
    lines = ["| name | base | now | ratio | spread | |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = [row.name, _time(median(row.base)), _time(median(row.now)), f"{row.ratio:.2f}", f"{row.spread:.0%}"]
        lines.append(f"| {' | '.join(cells)} | {'slower' if row.is_slower else ''} |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    for factor, unit in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"
