"""The table of metrics in docs/metrics.md, made from the code. `python -m tests.metrics.reference` updates it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from prometheus_client.metrics_core import Metric

from ociserver import Event, Memory
from ociserver.metrics import Metrics

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "metrics.md"

_TABLE: Final = re.compile(r"<!-- metrics -->\n.*?<!-- end -->", re.DOTALL)


def families() -> list[Metric]:
    """Every metric of a server, each with a sample."""
    metrics = Metrics([Memory().figures], [Path(tempfile.gettempdir())])
    metrics.meter.request_answered(Event("", "", "GET", b"", "ping", None, 200, 0, 0, 0.0))
    return list(metrics.registry.collect())


def name_of(family: Metric) -> str:
    """The name of a metric in queries."""
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def labels_of(family: Metric) -> list[str]:
    return [name for name in family.samples[0].labels if name != "le"]


def table() -> str:
    rows = [
        f"| `{name_of(each)}` | {each.type} | {', '.join(f'`{label}`' for label in labels_of(each))} "
        f"| {each.documentation} |"
        for each in families()
    ]
    return "\n".join(["| metric | type | labels | meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"


def rewritten(document: str) -> str:
    """The document with the correct table."""
    return _TABLE.sub(f"<!-- metrics -->\n\n{table()}\n<!-- end -->", document)


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text()))
