"""Prints what the conformance suite counted at the end of the test run."""

from __future__ import annotations

import pytest

from tests.conformance.report import Report

REPORTS = pytest.StashKey[dict[str, Report]]()


@pytest.fixture
def conformance_reports(pytestconfig: pytest.Config) -> dict[str, Report]:
    """Where a run puts its report, by name, to have its totals printed."""
    return pytestconfig.stash.setdefault(REPORTS, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = config.stash.get(REPORTS, {})
    if reports:
        terminalreporter.section("OCI distribution-spec conformance")
    for name, report in reports.items():
        terminalreporter.line(f"{name}: {report}")
