"""Figures of alternating rounds: medians and spread, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(slots=True)
class Figure:
    """A measurement of ours and of what it is compared with, round by round.

    Args:
        name: the work.
        unit: the unit of `ours` and `base`.
        base_name: what ours is compared with.
        target: the least acceptable ratio. None if there is no target.
        more_is_better: True for rates. False for times, whose ratio is base / ours.
        ours, base: one value for each round. The two of a round are measured one after the other.
        notes: further values of the rounds, by name.
    """

    name: str
    unit: str
    base_name: str
    target: float | None = None
    more_is_better: bool = True
    ours: list[float] = field(default_factory=list)
    base: list[float] = field(default_factory=list)
    notes: dict[str, list[float]] = field(default_factory=dict)

    def add(self, ours: float, base: float, **notes: float) -> None:
        """Add a round."""
        self.ours.append(ours)
        self.base.append(base)
        for name, value in notes.items():
            self.add_note(name, value)

    def add_note(self, name: str, value: float) -> None:
        self.notes.setdefault(name, []).append(value)

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round, best first. Above 1, ours is better."""
        pairs = zip(self.ours, self.base, strict=True)
        return sorted((ours / base if self.more_is_better else base / ours for ours, base in pairs), reverse=True)

    def row(self) -> list[str]:
        ratios = self.ratios
        goal = f">= {self.target:g}" if self.target is not None else ""
        return [
            self.name,
            f"{median(self.ours):,.4g} {self.unit}",
            f"{median(self.base):,.4g}",
            self.base_name,
            f"{median(ratios):.2f}",
            f"{ratios[-1]:.2f}-{ratios[0]:.2f}",
            goal,
            ", ".join(f"{name} {median(values):.3g}" for name, values in self.notes.items()),
        ]


_HEAD = ["what", "ours", "base", "compared with", "ratio", "spread", "target", "also"]


def table(figures: Sequence[Figure]) -> str:
    """Return a Markdown table of medians, with the lowest and highest ratio of a round."""
    rows = [_HEAD, *(figure.row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def save(figures: Sequence[Figure], path: Path, settings: dict[str, Any]) -> None:
    """Write all figures, and the machine that they were measured on, as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{**asdict(figure), "ratio": median(figure.ratios), "ratios": figure.ratios} for figure in figures]
    content = {"machine": machine(), "settings": settings, "figures": entries}
    path.write_text(json.dumps(content, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """Return the machine, versions and commit of the figures."""
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "").partition(": ")[2]
    git = ["/usr/bin/env", "git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False)
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "granian": version("granian"),
        "commit": commit.stdout.strip(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []
