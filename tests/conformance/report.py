"""Reads the report of the distribution spec's conformance suite.

The exit status of the suite is not enough, because it counts a skip as success. Nor are the test cases in its
`junit.xml`: a case that was partly skipped is a pass. So the totals come from the head of the report, and the skips
from the output of each case.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

_SKIP = re.compile(r"^(.*): skipping test:\n *(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Report:
    """Totals, and one or more lines about each case that did not pass completely."""

    passed: int
    failed: int
    errors: int
    skipped: int
    disabled: int
    """Tests that were left out because the requested version does not have them."""
    troubles: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.passed} pass {self.failed} fail {self.errors} error {self.skipped} skip ({self.disabled} disabled)"
        )


def read_report(path: Path) -> Report:
    """Read the `junit.xml` of the suite."""
    suite = ET.parse(path).getroot().find("testsuite")  # noqa: S314 - written by a program that we started
    if suite is None:
        raise ValueError(f"{path}: no testsuite in it")
    failed, errors, skipped, disabled = (
        int(suite.get(name, "0")) for name in ("failures", "errors", "skipped", "disabled")
    )
    return Report(
        passed=int(suite.get("tests", "0")) - failed - errors - skipped - disabled,
        failed=failed,
        errors=errors,
        skipped=skipped,
        disabled=disabled,
        troubles=tuple(line for case in suite.iter("testcase") for line in _troubles(case)),
    )


def _troubles(case: ET.Element) -> list[str]:
    name, status = case.get("name", "?"), case.get("status", "?")
    lines = []
    if status not in {"passed", "skipped"}:
        lines.append(f"{status.upper()} {name}: {case.findtext('system-out', '').strip()}")
    skips = _SKIP.findall(case.findtext("system-err", ""))
    if status == "skipped" and not skips:
        # The suite has found that the server does not do this, and does not say why.
        lines.append(f"SKIPPED {name}: not supported")
    return lines + [f"SKIPPED {name}: {reason}" for name, reason in skips]
