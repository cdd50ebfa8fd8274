"""Parses the output of divan, the benchmark library of the Rust crates. divan has no machine-readable output."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

# A column is "fastest │ slowest │ median │ ...", the tree in front of the first: "│  ├─ 4096    2.1 µs ".
_ENTRY: Final = re.compile(r"^((?:│  |   )*)[├╰]─ (.*)$")
_LEAF: Final = re.compile(r"^(.*?)\s{2,}[\d.]+ \S+\s*$")
_MEDIAN: Final = 2

_SECONDS: Final = {"ps": 1e-12, "ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


def medians(lines: Iterable[str]) -> dict[str, float]:
    """Return median seconds by name, such as `hash/0/4096`. Other lines are skipped."""
    times: dict[str, float] = {}
    path: list[str] = []
    for line in lines:
        entry = _ENTRY.match(line)
        if entry is None:
            continue
        first, *columns = entry[2].split("│")
        leaf = _LEAF.match(first)
        path[len(entry[1]) // 3 :] = [leaf[1] if leaf else first.strip()]
        if leaf:
            number, unit = columns[_MEDIAN - 1].split()
            times["/".join(path)] = float(number) * _SECONDS[unit]
    return times
