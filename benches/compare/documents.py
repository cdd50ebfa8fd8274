"""Writes tables and plots: into the folder of the results, and into the documentation."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benches.compare import plots, tables, targets
from benches.compare.peers import OURS, PEERS
from benches.compare.results import Figure, Report

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")
PICTURES: Final = ROOT / "docs" / "benchmarks"

_BLOCK: Final = re.compile(r"(<!-- figures: ([a-z-]+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def write(report: Report, folder: Path) -> str:
    """Write `report.md`, `report.json` and the plots; returns the text."""
    text = f"{_measured(report)}\n\n{tables.full(report)}\n\n## Wanted\n\n{targets.targets(report)}\n"
    (folder / "report.md").write_text(text)
    content = {name: asdict(group) for name, group in report.groups.items()}
    (folder / "report.json").write_text(json.dumps(content, indent=1) + "\n")
    plots.plot_all(report, folder)
    return text


def publish(report: Report) -> None:
    """Replace the figures in the documents, between the lines that say which belong there, and the pictures."""
    blocks = {
        "measured": _measured(report),
        "servers": tables.servers(report),
        "targets": targets.targets(report),
        "short": short(report),
        **{name: tables.group_section(group) for name, group in report.groups.items()},
    }
    for document in DOCUMENTS:
        document.write_text(replaced(document.read_text(), blocks))
    plots.plot_all(report, PICTURES)


def replaced(text: str, blocks: dict[str, str]) -> str:
    """A document with the blocks put in. One that was not measured stays as it was."""

    def block(found: re.Match[str]) -> str:
        content = blocks.get(found[2])
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
    return (
        f"Measured at commit {', '.join(names)} on {machine['cores']} cores ({machine['processor']}), which ran the "
        f"load too; {machine['system'].partition('-with')[0]}, CPython {machine['python']}, granian "
        f"{machine['granian']}. Medians of {rounds} alternating rounds, lowest and highest round in brackets."
    )


def short(report: Report) -> str:
    """Six lines for the README."""
    peers = [name for name in report.labels if name in PEERS]
    rows = []
    for work in plots.SUMMARY:
        figures = {one.server: one for one in report.figures(work)}
        if OURS in figures:
            shown = [_brief(figures[name]) if name in figures and figures[name].samples else "no" for name in peers]
            unit = "GB/s" if figures[OURS].unit == "bytes/s" else "a second"
            rows.append([f"{figures[OURS].text}, {unit}", *shown])
    return tables.table(["", *(report.labels[name] for name in peers)], rows)


def _brief(figure: Figure) -> str:
    return f"{figure.median() / 1e9:.2f}" if figure.unit == "bytes/s" else tables.number(figure.median())
