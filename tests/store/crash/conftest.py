"""Says at the end of a run how many were killed."""

from __future__ import annotations

import pytest

from tests.store.crash import kills


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if kills.total():
        points = f"{kills.at_points.total()} at {len(kills.at_points)} points, {kills.at_any_time.total()} at any time"
        terminalreporter.write_line(f"{kills.total()} processes were killed: {points}")
