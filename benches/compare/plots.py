"""SVG plots of the figures: a panel for each work, a bar for each server, a line for the spread of its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benches.compare.peers import OURS, PEERS
from benches.compare.results import Figure, Report
from benches.compare.works import GROUPS

SUMMARY: Final = ("manifest-get-tag", "image-pull", "image-push", "upload-put", "download", "tags-page-5000")

_COLOURS: Final = {OURS: "#c2410c", "disk": "#4b6a88", "memory": "#a9bccd", "objects": "#6b8f71", "bound": "#d4d4d4"}
_DARK: Final = {
    "#c2410c": "#ea580c",
    "#4b6a88": "#7596b6",
    "#a9bccd": "#4f6478",
    "#6b8f71": "#8fb996",
    "#d4d4d4": "#5c5c5c",
}
"""The colours of bars on a dark background."""

_STYLE: Final = "\n".join(
    (
        "text{fill: #1f2328}",
        "@media (prefers-color-scheme: dark){",
        "text{fill: #e6edf3}",
        '[style*="stroke: #000000"]{stroke: #e6edf3 !important}',
        '[style*="stroke: #555555"]{stroke: #b0b0b0 !important}',
        *(f'[style*="fill: {light}"]{{fill: {dark} !important}}' for light, dark in _DARK.items()),
        "}",
        "</style>",
    )
)
"""The background is that of the page, so lines and texts follow it."""

_PANEL: Final = (4.6, 2.4)
"""Size of a panel in inches."""


def plot(report: Report, works: Sequence[str], path: Path) -> None:
    """Draw the work that was measured. The same figures give the same file."""
    shown = [work for work in works if work != "start" and any(one.samples for one in report.figures(work))]
    if not shown:
        return
    # Keep text as text: it can be searched, and does not depend on installed fonts.
    with mpl.rc_context({"svg.hashsalt": "ociserver", "svg.fonttype": "none", "font.size": 8}):
        columns = min(len(shown), 3)
        rows = -(-len(shown) // columns)
        canvas = Canvas(figsize=(_PANEL[0] * columns, _PANEL[1] * rows), layout="constrained")
        panels = canvas.subplots(rows, columns, squeeze=False).flatten()
        for panel, work in zip(panels, shown, strict=False):
            _panel(panel, [one for one in report.figures(work) if one.samples], report)
        for panel in panels[len(shown) :]:
            panel.set_visible(False)
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, metadata={"Date": None, "Creator": None}, transparent=True)
    # matplotlib ends many lines with a space, which is removed.
    text = path.read_text().replace("</style>", _STYLE, 1)
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def _panel(axes: Axes, figures: Sequence[Figure], report: Report) -> None:
    figures = list(reversed(figures))
    is_bytes = figures[0].unit == "bytes/s"
    scale = 1e9 if is_bytes else 1
    middles = [figure.median() / scale for figure in figures]
    low = [middle - figure.spread[0] / scale for middle, figure in zip(middles, figures, strict=True)]
    high = [figure.spread[1] / scale - middle for middle, figure in zip(middles, figures, strict=True)]
    labels = [report.labels[figure.server] for figure in figures]
    axes.barh(labels, middles, color=[_colour(figure.server) for figure in figures], xerr=(low, high), ecolor="#555")
    # A long title begins above the labels.
    axes.set_title(f"{figures[0].text}, {'GB/s' if is_bytes else 'per second'}", fontsize=9, loc="right")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False)
    # Each bar is annotated with its value.
    axes.set_xticks([])
    for at, middle in enumerate(middles):
        axes.annotate(f" {middle:.2f}" if is_bytes else f" {middle:,.0f}", (high[at] + middle, at), va="center")
    axes.margins(x=0.2)


def _colour(server: str) -> str:
    if server == OURS:
        return _COLOURS[OURS]
    peer = PEERS.get(server)
    return _COLOURS[peer.keeps if peer else "bound"]


def plot_all(report: Report, folder: Path) -> None:
    """Draw the summary, and each group that was measured."""
    plot(report, SUMMARY, folder / "summary.svg")
    for group in report.groups:
        plot(report, [work.name for work in GROUPS[group]], folder / f"{group}.svg")
