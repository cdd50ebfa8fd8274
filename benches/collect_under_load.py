"""Runs collection without pause beside 16 clients: checks that nothing is lost, and measures the clients.

`python -m benches.collect_under_load --minutes 10` fails if acknowledged content is missing, or if anything else is
stored at the end. See docs/store.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benches.figures import machine
from ociserver.units import format_size
from tests.support.churn.load import CLIENTS, PATIENCE_S, Report, run
from tests.support.churn.tally import percentiles_ms

_RESULTS = Path(__file__).parents[1] / "results" / "collect_under_load.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.collect_under_load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="minutes of load (%(default)s)")
    parser.add_argument(
        "--folder",
        type=Path,
        help="keep the store in this folder, and continue with it next time; the figures cover all runs",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="collect-under-load-") as scratch:
        folder: Path = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = run(folder, arguments.minutes * 60)
    settings = {"clients": CLIENTS, "workers": 2, "patience_s": PATIENCE_S}
    content = {"machine": machine(), "settings": settings, "figures": _figures(report)}
    print(f"{content['machine']}\n\n{_table(content['figures'])}")
    _RESULTS.parent.mkdir(parents=True, exist_ok=True)
    _RESULTS.write_text(json.dumps(content, indent=2) + "\n")
    print(f"\n{_RESULTS}")
    return 0


def _figures(report: Report) -> dict[str, Any]:
    tally = report.tally
    return {
        "minutes": round(report.seconds / 60, 2),
        "runs": report.parts,
        **dict(sorted(tally.counts.items())),
        "collections": report.collections,
        **{f"collected, {reason}": count for reason, count in sorted(report.freed.items())},
        "bytes freed": report.freed_bytes,
        "push, p50 and p99 in ms": [round(time) for time in percentiles_ms(tally.push_s)],
        "pull, p50 and p99 in ms": [round(time) for time in percentiles_ms(tally.pull_s)],
        "images in the end, all pulled": report.left,
        "bytes in the end, all of these": report.left_bytes,
    }


def _table(figures: dict[str, Any]) -> str:
    lines = ["| what | |", "| --- | --- |"]
    for name, value in figures.items():
        text = format_size(value) if name.startswith("bytes") else str(value)
        lines.append(f"| {name} | {text} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
