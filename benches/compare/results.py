"""The figures of a run: one JSON file for each group of works, combined for display."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, Literal

from benches.figures import machine

NEAR_NS: Final = 80
"""The longest time in nanoseconds that a word takes between two cores with a shared cache. It was measured as 30 with
both virtual cores on one chiplet of a processor (AMD EPYC 9004), and as 105 with the cores on two."""

Field = Literal["rate", "p50_ms", "p99_ms", "cpu_seconds", "bytes", "count", "seconds", "client_cpu_seconds"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement. Times of one operation are in milliseconds. `bytes` counts the bytes of bodies."""

    rate: float
    p50_ms: float
    p99_ms: float
    count: int
    seconds: float
    bytes: int
    cpu_seconds: float | None
    """The processor time of all processes of the server. None if they are unknown."""
    client_cpu_seconds: float
    errors: dict[str, int]
    apart_ns: int | None = None
    """Nanoseconds that a word takes from core to core, the longer of before and after. None if unknown."""


@dataclass(slots=True)
class Figure:
    """The result of one work on one server: a sample for each round, or the reason why there is none."""

    work: str
    text: str
    unit: str
    server: str
    samples: list[Sample] = field(default_factory=list)
    failed: str | None = None

    def values(self, name: Field) -> list[float]:
        return [value for sample in self.samples if (value := getattr(sample, name)) is not None]

    def median(self, name: Field = "rate") -> float:
        return median(self.values(name))

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and highest rate of a round."""
        rates = self.values("rate")
        return min(rates), max(rates)

    def rates(self, *, is_near: bool) -> list[float]:
        """Return the rates of the rounds in which the cores shared a cache, or of those in which they did not."""
        known = [(sample.rate, sample.apart_ns) for sample in self.samples if sample.apart_ns is not None]
        return [rate for rate, apart in known if (apart <= NEAR_NS) == is_near]

    @property
    def cpu_per_gb(self) -> float | None:
        """Seconds of processor time of the server for 10^9 bytes."""
        return self._cpu(lambda sample: sample.bytes / 1e9)

    @property
    def cpu_us(self) -> float | None:
        """Microseconds of processor time of the server for an operation."""
        return self._cpu(lambda sample: sample.count / 1e6)

    def _cpu(self, amount: Any) -> float | None:
        used = [sample.cpu_seconds / amount(sample) for sample in self.samples if sample.cpu_seconds and amount(sample)]
        return median(used) if used else None


@dataclass(slots=True)
class Group:
    """All figures of a group of works, with settings and machine."""

    name: str
    settings: dict[str, Any]
    labels: dict[str, str]
    """The labels of the servers, in the order of the tables."""
    missing: dict[str, str]
    """The reasons why requested registries did not run."""
    figures: list[Figure] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)
    """Peak of each server over the whole group, in MiB."""
    machine: dict[str, Any] = field(default_factory=machine)

    def save(self, folder: Path) -> None:
        """Write the group to the folder. Existing figures of other works of the group are kept."""
        path = folder / f"{self.name}.json"
        if path.exists():
            measured = {figure.work for figure in self.figures}
            before = load(path)
            self.figures = [one for one in before.figures if one.work not in measured] + self.figures
            self.labels = before.labels | self.labels
            for server, peak in before.memory.items():
                self.memory[server] = max(peak, self.memory.get(server, 0.0))
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


def load(path: Path) -> Group:
    content = json.loads(path.read_text())
    figures = [
        Figure(**{**one, "samples": [Sample(**sample) for sample in one["samples"]]}) for one in content.pop("figures")
    ]
    return Group(**content, figures=figures)


@dataclass(frozen=True, slots=True)
class Report:
    """All groups that have been measured."""

    groups: Mapping[str, Group]

    @property
    def labels(self) -> dict[str, str]:
        return {name: label for group in self.groups.values() for name, label in group.labels.items()}

    @property
    def missing(self) -> dict[str, str]:
        return {name: reason for group in self.groups.values() for name, reason in group.missing.items()}

    def figures(self, work: str) -> Iterator[Figure]:
        """Yield the figures of a work."""
        for group in self.groups.values():
            yield from (figure for figure in group.figures if figure.work == work)

    def figure(self, work: str, server: str) -> Figure | None:
        """Return the figure of a work on a server, if it was measured and did not fail."""
        found = (figure for figure in self.figures(work) if figure.server == server and figure.samples)
        return next(found, None)

    def memory(self, server: str) -> float | None:
        """Return the peak memory of a server over all groups, in MiB."""
        return max((group.memory[server] for group in self.groups.values() if server in group.memory), default=None)


def load_all(folder: Path, order: list[str]) -> Report:
    """Load the groups of these names from the folder, if they exist."""
    return Report({name: load(folder / f"{name}.json") for name in order if (folder / f"{name}.json").exists()})
