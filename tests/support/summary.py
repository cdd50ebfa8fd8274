"""The summary at the end of a run: counts and lines that tests recorded, in all processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pytest

__all__ = ["KILLED", "LINE", "PART", "Record", "lines"]

Record = Callable[[str, object], None]
"""pytest's fixture `record_property`."""

LINE: Final = "line of the summary"
"""Property of a test: a line for the summary, printed unchanged."""

PART: Final = "part of a table"
"""Property of a test: the table in which the test is counted as passed or failed."""

KILLED: Final = "killed at"
"""Property of a test, recorded at each kill of a process: the name of the failpoint, or "" for a random moment."""


def lines(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """The lines of the summary, from the reports of tests that have ended."""
    wholes: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    for report in reports:
        for name, value in report.user_properties:
            if name == LINE:
                yield str(value)
            elif name == PART:
                wholes[str(value)] += 1
                passed[str(value)] += report.passed
            elif name == KILLED:
                killed[str(value)] += 1
    for table, count in sorted(wholes.items()):
        yield f"{table}: {passed[table]} of {count}"
    if killed:
        any_time = killed.pop("", 0)
        points = f"{killed.total()} at {len(killed)} points, {any_time} at any time"
        yield f"{killed.total() + any_time} processes were killed: {points}"
