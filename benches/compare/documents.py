"""Writes the tables and plots into the results folder and into the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum, auto
from pathlib import Path
from typing import Final

from benches.compare import plots, tables, targets
from benches.compare.peers import OURS, PEERS
from benches.compare.results import Figure, Report
from benches.compare.works import GROUPS

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = (ROOT / "docs" / "benchmarks.md", ROOT / "benches" / "FIGURES.md", ROOT / "README.md")
PICTURES: Final = ROOT / "docs" / "benchmarks"

_WORKS: Final = tuple(work.name for works in GROUPS.values() for work in works if work.name != "start")

_COSTLY: Final = (
    "manifest-get-tag",
    "blob-get-4k",
    "image-push",
    "image-push-patch",
    "image-pull",
    "upload-put",
    "upload-chunked",
    "download",
    "download-parallel",
    "tags-page-5000",
    "catalog-page-5000",
    "referrers-page-5000",
)
"""The works whose processor time the documentation shows. `benches/FIGURES.md` has that of all works."""

_BLOCK: Final = re.compile(r"(<!-- figures: ([a-z-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


class Kind(Enum):
    """What a table shows: work per second, or processor time per unit of work."""

    RATE = auto()
    COST = auto()


def write(report: Report, folder: Path) -> str:
    """Write `report.md`, `report.json` and the plots. Return the text of `report.md`."""
    text = f"{_measured(report)}\n\n{tables.full(report)}\n\n## Targets\n\n{targets.targets(report)}\n"
    (folder / "report.md").write_text(text)
    content = {name: asdict(group) for name, group in report.groups.items()}
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    plots.plot_all(report, folder)
    return text


def publish(report: Report) -> None:
    """Replace the plots, and the figures between the marker comments of each document."""
    parts = blocks(report)
    for document in DOCUMENTS:
        document.write_text(replaced(document.read_text(), parts))
    plots.plot_all(report, PICTURES)


def blocks(report: Report) -> dict[str, str]:
    """Return the parts of the documents by the names in their marker comments."""
    return {
        "measured": _measured(report),
        "servers": tables.servers(report),
        "targets": targets.targets(report),
        "short": overview(report, plots.SUMMARY),
        "rates": overview(report, _WORKS),
        "costs": overview(report, _COSTLY, Kind.COST),
        **{name: tables.group_section(group) for name, group in report.groups.items()},
    }


def replaced(text: str, parts: dict[str, str]) -> str:
    """Return the document with the given parts. Other parts stay as they are."""

    def block(found: re.Match[str]) -> str:
        content = parts.get(found[2])
        return found[0] if content is None else f"{found[1]}\n{content}\n\n{found[3]}"

    return _BLOCK.sub(block, text)


def _measured(report: Report) -> str:
    groups = list(report.groups.values())
    machine = groups[0].machine
    commits: dict[str, list[str]] = {}
    for group in groups:
        commits.setdefault(group.machine["commit"], []).append(group.name)
    names = [f"{commit} ({', '.join(those)})" if len(commits) > 1 else commit for commit, those in commits.items()]
    rounds = min(group.settings["rounds"] for group in groups)
    versions = sorted({str(group.machine["granian"]) for group in groups})
    mixed = " A table of several groups compares figures of several commits." if len(commits) > 1 else ""
    return (
        f"Measured at commit {', '.join(names)} on {machine['cores']} cores ({machine['processor']}), which ran the "
        f"load too; {machine['system'].partition('-with')[0]}, CPython {machine['python']}, granian "
        f"{', '.join(versions)}. Medians of {rounds} alternating rounds, lowest and highest round in brackets.{mixed}"
    )


def overview(report: Report, works: Sequence[str], kind: Kind = Kind.RATE) -> str:
    """Return a table of medians: a row for each work, a column for each registry, without the bounds."""
    peers = [name for name in report.labels if name in PEERS]
    rows = []
    for work in works:
        figures = {one.server: one for one in report.figures(work)}
        if OURS in figures:
            cells = [_cell(figures.get(name), kind) for name in peers]
            rows.append([f"{figures[OURS].text}, {_unit(figures[OURS], kind)}", *cells])
    return tables.table(["", *(report.labels[name] for name in peers)], rows)


def _unit(figure: Figure, kind: Kind) -> str:
    if figure.unit == "bytes/s":
        return "GB/s" if kind is Kind.RATE else "s/GB"
    return "per second" if kind is Kind.RATE else "µs"


def _cell(figure: Figure | None, kind: Kind) -> str:
    if figure is None or not figure.samples:
        return "no"
    if kind is Kind.COST:
        return tables.cpu(figure)
    return f"{figure.median() / 1e9:.2f}" if figure.unit == "bytes/s" else tables.number(figure.median())
