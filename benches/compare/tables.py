"""Markdown tables of the figures: a row for each server, a column for each work, medians and spread of the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

from benches.compare.peers import PEERS
from benches.compare.results import Figure, Group, Report
from benches.compare.works import TITLES

_MEMORY_HEAD: Final = ("", "start-up to first answer", "peak memory", "storage", "syncs", "switch for syncing")

Cell = Callable[[Figure], str]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table. The first column is text, the others are numbers."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def number(value: float) -> str:
    """Format with three significant digits, or as an integer from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def rate(figure: Figure) -> str:
    """Return the median of the rounds, with the lowest and the highest in brackets."""
    scale = 1e9 if figure.unit == "bytes/s" else 1
    low, high = (value / scale for value in figure.spread)
    middle = figure.median() / scale
    if figure.unit == "bytes/s":
        return f"{middle:.2f} ({low:.2f}-{high:.2f})"
    return f"{number(middle)} ({number(low)}-{number(high)})"


def _times(figure: Figure) -> str:
    if not any(figure.values("p50_ms")):
        return ""
    return f"{figure.median('p50_ms'):.2f} / {figure.median('p99_ms'):.1f}"


def cpu(figure: Figure) -> str:
    """Return the median processor time: seconds per GB, or microseconds per operation."""
    if figure.unit == "bytes/s":
        return f"{figure.cpu_per_gb:.2f}" if figure.cpu_per_gb else ""
    return number(figure.cpu_us) if figure.cpu_us else ""


def _size(figure: Figure) -> str:
    return number(median(sample.bytes / sample.count for sample in figure.samples if sample.count) / 1000)


def _apart(figure: Figure) -> str:
    rates = [figure.rates(is_near=is_near) for is_near in (True, False)]
    return " / ".join(f"{median(those) / 1e9:.2f} ({len(those)})" if those else "-" for those in rates)


def group_section(group: Group) -> str:
    """Return all figures of a group, and what failed in it."""
    figures = [figure for figure in group.figures if figure.work != "start"]
    is_bytes = any(figure.unit == "bytes/s" for figure in figures)
    parts = [_table(group, figures, "GB/s" if is_bytes else "per second", rate)]
    parts.append(_table(group, figures, "CPU s/GB" if is_bytes else "CPU µs each", cpu))
    if not is_bytes:
        parts.append(_table(group, figures, "p50 / p99, ms", _times))
    if is_bytes and any(figure.rates(is_near=False) for figure in figures):
        parts.append(_table(group, figures, "GB/s, cores near / apart", _apart))
    if group.name in ("tags", "lists"):
        pages = [figure for figure in figures if "page" in figure.work]
        parts.append(_table(group, pages, "kB of one answer", _size))
    failed = [figure for figure in group.figures if figure.failed]
    if failed:
        parts.append("\n".join(f"- {group.labels[one.server]}, {one.text}: {_code(one.failed)}" for one in failed))
    return "\n\n".join(part for part in parts if part)


def _code(reason: str | None) -> str:
    """Format as code a reason that came over the network."""
    text = (reason or "").replace("`", "'")
    return f"`{text}`" if "/v2/" in text else text


def _table(group: Group, figures: Sequence[Figure], what: str, cell: Cell) -> str:
    works = {figure.work: figure.text for figure in figures}
    cells = {(one.server, one.work): cell(one) if one.samples else "no" for one in figures}
    rows = [
        [label, *(cells.get((server, work), "") for work in works)]
        for server, label in group.labels.items()
        if any(cells.get((server, work)) for work in works)
    ]
    return table([what, *works.values()], rows)


def servers(report: Report) -> str:
    """Return a table of the registries: start-up time, peak memory over all work, and durability."""
    rows = []
    for name, label in report.labels.items():
        if (peer := PEERS.get(name)) is None:
            continue
        start, memory = report.figure("start", name), report.memory(name)
        rows.append(
            [
                label,
                f"{start.median('p50_ms'):.0f} ms" if start else "",
                f"{memory:,.0f} MiB" if memory else "",
                peer.keeps,
                "yes" if peer.syncs else "no",
                peer.switch,
            ]
        )
    text = table(_MEMORY_HEAD, rows)
    absent = [f"- {PEERS[name].label if name in PEERS else name}: {reason}" for name, reason in report.missing.items()]
    return text + ("\n\n" + "\n".join(absent) if absent else "")


def full(report: Report) -> str:
    """Return the sections of all groups."""
    sections = [f"## {TITLES[name]}\n\n{group_section(group)}" for name, group in report.groups.items()]
    return "\n\n".join([f"## Registries\n\n{servers(report)}", *sections])
