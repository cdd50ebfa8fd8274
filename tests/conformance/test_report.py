"""The reader of the report finds every failure and skip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.report import read_report

# Shortened from a real run. The skip of `mount anonymous` is in a case that passes.
REPORT = """\
<testsuites time="0.8" tests="8" failures="2" errors="1" skipped="2" disabled="1">
  <testsuite name="OCI Conformance Test" tests="8" failures="2" errors="1" disabled="1" skipped="2" time="0.8">
    <properties><property name="Config" value="version: dev"></property></properties>
    <testcase name="OCI Conformance Test/ping" classname="" time="0.001981" status="passed">
      <system-err>GET /v2/</system-err>
    </testcase>
    <testcase name="OCI Conformance Test/mount anonymous" classname="" status="passed">
      <system-err>POST /v2/
OCI Conformance Test/mount anonymous: skipping test:
  anonymous blob mount is not supported
HEAD /v2/</system-err>
    </testcase>
    <testcase name="OCI Conformance Test/get range" classname="" status="failure">
      <system-out>expected status 416, received 500</system-out>
    </testcase>
    <testcase name="OCI Conformance Test/tags" classname="" status="error">
      <system-out>engine failed</system-out>
    </testcase>
    <testcase name="OCI Conformance Test/post cancel" classname="" status="skipped">
      <system-err>OCI Conformance Test/post cancel: skipping test:
  API disabled</system-err>
    </testcase>
    <testcase name="OCI Conformance Test/mount/blob-mount" classname="" status="skipped">
      <system-err>POST /v2/</system-err>
    </testcase>
  </testsuite>
</testsuites>
"""


def test_totals_and_troubles(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(REPORT)
    report = read_report(path)
    assert str(report) == "2 pass 2 fail 1 error 2 skip (1 disabled)"
    assert report.troubles == (
        "SKIPPED OCI Conformance Test/mount anonymous: anonymous blob mount is not supported",
        "FAILURE OCI Conformance Test/get range: expected status 416, received 500",
        "ERROR OCI Conformance Test/tags: engine failed",
        "SKIPPED OCI Conformance Test/post cancel: API disabled",
        "SKIPPED OCI Conformance Test/mount/blob-mount: not supported",
    )


def test_a_report_without_a_suite_is_not_a_pass(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text("<testsuites></testsuites>")
    with pytest.raises(ValueError, match="no testsuite"):
        read_report(path)
