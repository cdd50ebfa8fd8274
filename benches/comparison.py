"""Whether one commit is slower than another: rounds of the same benchmarks of both, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

LEAST_ROUNDS: Final = 3
"""With fewer there is no spread to speak of."""

Rounds = Sequence[Mapping[str, float]]
"""For each round the seconds that each benchmark took, by name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One benchmark: its seconds in each round, of the base and now."""

    name: str
    base: Sequence[float]
    now: Sequence[float]

    @property
    def ratio(self) -> float:
        """Of the medians; above 1 is slower."""
        return median(self.now) / median(self.base)

    @property
    def spread(self) -> float:
        """How far the rounds of one commit lie apart, as a part of their median: the wider of the two."""
        return max((max(times) - min(times)) / median(times) for times in (self.base, self.now))

    @property
    def is_slower(self) -> bool:
        """Whether it takes longer by more than the same code takes now more and now less time."""
        return self.ratio > 1 + self.spread


def compare(base: Rounds, now: Rounds) -> list[Row]:
    """Rows of the benchmarks that both have, those that became slower first, by how much.

    Raises:
        ValueError: a benchmark is missing in some rounds, or there are too few.
    """
    if min(len(base), len(now)) < LEAST_ROUNDS:
        raise ValueError(f"at least {LEAST_ROUNDS} rounds are wanted of each")
    for rounds in (base, now):
        if any(times.keys() != rounds[0].keys() for times in rounds):
            raise ValueError("not every round has the same benchmarks")
    names = [name for name in base[0] if name in now[0]]
    rows = [Row(name, [times[name] for times in base], [times[name] for times in now]) for name in names]
    return sorted(rows, key=lambda row: (not row.is_slower, -row.ratio))


def table(rows: Sequence[Row]) -> str:
    """A Markdown table: medians of the rounds, their ratio and spread."""
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
