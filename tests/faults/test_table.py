"""docs/faults.md: every row names tests that there are, and every test is in a row."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "faults.md"


def test_rows_and_tests_belong_together() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    named = [set(re.findall(r"`(test_\w+)`", row.split(" | ")[-1])) for row in rows]
    assert all(named), [row for row, tests in zip(rows, named, strict=True) if not tests]
    files = [path for path in HERE.glob("test_*.py") if path != Path(__file__)]
    there = {name for path in files for name in re.findall(r"def (test_\w+)\(", path.read_text())}
    assert set().union(*named) == there
