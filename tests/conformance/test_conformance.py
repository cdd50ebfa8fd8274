"""The conformance suite of the OCI distribution spec, at the version that tests/tools/go.mod pins.

Demanded: no FAIL, no Error and no Skip, in the spec's next version with everything that the suite can
try turned on, and in 1.1.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.report import Report, read_report
from tests.support.server import Server
from tests.support.tools import ROOT, require_tool


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the spec, what else to turn on, and what a whole run comes to at least."""

    name: str
    environment: dict[str, str]
    least_passed: int
    disabled: int


# Sparse images and indexes are off in every version. The counts are there so that a run that left half
# of the suite out is not taken for a good one; in 1.1 upload cancel is disabled, once for each algorithm.
VERSIONS = (
    Version("dev", {"OCI_DATA_SPARSE": "true"}, least_passed=1032, disabled=0),
    Version("1.1", {}, least_passed=860, disabled=2),
)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_conformance(
    server: Server,
    version: Version,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    conformance_reports: dict[str, Report],
) -> None:
    command = require_tool("conformance")
    # A repository of its own for each run: the suite begins by asking for what must not be there.
    repository = f"conformance/{version.name}"
    environment = {
        "OCI_CONFIGURATION": "",  # no file: only what follows
        "OCI_REGISTRY": server.address,
        "OCI_TLS": "disabled",
        "OCI_VERSION": version.name,
        "OCI_REPO1": f"{repository}/repo1",
        "OCI_REPO2": f"{repository}/repo2",
        "OCI_RESULTS_DIR": str(tmp_path),
        **version.environment,
    }
    done = subprocess.run([command], env=environment, capture_output=True, text=True, timeout=100, check=False)

    report = read_report(tmp_path / "junit.xml")
    conformance_reports[request.node.callspec.id] = report
    _keep(tmp_path / "report.html", request.node.callspec.id)
    troubles = "\n".join(report.troubles)
    assert (report.failed, report.errors, report.skipped) == (0, 0, 0), f"{report}\n{troubles}"
    assert done.returncode == 0, done.stderr
    assert report.disabled == version.disabled, f"{report}\n{troubles}"
    assert report.passed >= version.least_passed, f"only {report}: was all of the suite run?"


def _keep(report: Path, name: str) -> None:
    """Put the suite's own report, with every request and answer, where a person can open it."""
    folder = ROOT / "results" / "conformance"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.html").write_bytes(report.read_bytes())
