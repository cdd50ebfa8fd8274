"""Each alert fires when it should, and not before: Prometheus' own tool evaluates the rules over series of samples."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.metrics.test_deploy import RULES, alerts
from tests.support.tools import require_tool

REQUESTS: Final = "http_server_request_duration_seconds_count"
SLOW: Final = "http_server_request_duration_seconds_bucket"
COMMITS: Final = "ociserver_store_commit_duration_seconds_bucket"
FREE: Final = "ociserver_disk_available_bytes"
LAST: Final = "ociserver_collection_last_success_timestamp_seconds"
GIB: Final = 2**30


def answers(status: int, steps: str) -> dict[str, str]:
    """Samples of the number of answers with a status."""
    return {f'{REQUESTS}{{http_response_status_code="{status}"}}': steps}


def durations(name: str, labels: str, first: str, second: str) -> dict[str, str]:
    """Samples of a histogram, of which the first bucket ends at 1 second, and the second one has all."""
    buckets = (("1.0", first), ("2.5", second), ("+Inf", second))
    return {f'{name}{{{labels}le="{bound}"}}': steps for bound, steps in buckets}


GET: Final = 'http_route="manifest_get",'
BLOB: Final = 'http_route="blob_get",'

# For each alert: samples of every minute with which it fires, others with which it does not, and hours until then.
# The notation is Prometheus': `0+2x10` is 0, 2, 4 and so on, ten times.
CASES: Final[dict[str, tuple[dict[str, str], dict[str, str], float]]] = {
    "OciserverErrors": (
        answers(200, "0+98x60") | answers(503, "0+2x60"),
        answers(200, "0+98x60") | answers(404, "0+2x60"),
        1,
    ),
    "OciserverSlowManifests": (
        durations(SLOW, GET, "0+9x60", "0+10x60"),
        durations(SLOW, BLOB, "0+9x60", "0+10x60"),
        1,
    ),
    "OciserverSlowCommits": (
        durations(COMMITS, "", "0+9x60", "0+10x60"),
        durations(COMMITS, "", "0+10x60", "0+10x60"),
        1,
    ),
    "OciserverDiskFillsUp": ({FREE: f"{100 * GIB}-{GIB}x90"}, {FREE: f"{100 * GIB}+0x90"}, 1.5),
    "OciserverDiskFull": ({FREE: f"{GIB // 2}+0x60"}, {FREE: f"{2 * GIB}+0x60"}, 1),
    "OciserverCollectionFails": (
        {'ociserver_collections_total{result="failure"}': "0+1x60"},
        {'ociserver_collections_total{result="success"}': "0+1x60"},
        1,
    ),
    "OciserverCollectionStopped": ({LAST: "60+0x1600"}, {LAST: "0+0x1600"}, 26),
    "OciserverWorkersEnd": (
        {"ociserver_worker_starts_total": "2+1x60", "process_start_time_seconds": "0+0x60"},
        {"ociserver_worker_starts_total": "2+0x60", "process_start_time_seconds": "0+0x60"},
        1,
    ),
    "OciserverSignInsRefused": (
        {'ociserver_sign_ins_total{result="refused"}': "0+120x60"},
        {'ociserver_sign_ins_total{result="accepted"}': "0+120x60"},
        1,
    ),
    "OciserverUpstreamFails": (
        {'ociserver_cache_upstream_errors_total{reason="slow"}': "0+60x60"},
        {'ociserver_cache_upstream_errors_total{reason="slow"}': "0+1x60"},
        1,
    ),
    "OciserverFilesRunOut": (
        {"process_open_fds": "95+0x60", "process_max_fds": "100+0x60"},
        {"process_open_fds": "50+0x60", "process_max_fds": "100+0x60"},
        1,
    ),
}
INFO: Final = "ociserver_build_info"


def case(alert: str, series: dict[str, str], hours: float, *, fires: bool) -> dict[str, Any]:
    """A test for promtool."""
    samples = int(hours * 60)
    given = [{"series": name, "values": steps} for name, steps in (series | {INFO: f"1+0x{samples}"}).items()]
    query = f'count by (alertname) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
    return {
        "interval": "1m",
        "input_series": given,
        "promql_expr_test": [{"expr": query, "eval_time": f"{samples}m", "exp_samples": expected}],
    }


def test_every_alert_fires_when_it_should_and_not_else(tmp_path: Path) -> None:
    assert {rule["alert"] for rule in alerts()} == CASES.keys() | {"OciserverAbsent"}
    tests = [
        case(alert, series, hours, fires=fires)
        for alert, (bad, good, hours) in CASES.items()
        for series, fires in ((bad, True), (good, False))
    ]
    absent = case("OciserverAbsent", {}, 1, fires=True)
    absent["input_series"] = []
    tests += [absent, case("OciserverAbsent", {}, 1, fires=False)]
    document = tmp_path / "tests.yml"
    document.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests}))
    done = subprocess.run(
        [require_tool("promtool"), "test", "rules", document], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fires", [True, False])
def test_the_tool_notices_an_alert_that_does_not_fire(fires: bool, tmp_path: Path) -> None:  # noqa: FBT001
    bad, good, hours = CASES["OciserverDiskFull"]
    wrong = case("OciserverDiskFull", good if fires else bad, hours, fires=fires)
    document = tmp_path / "tests.yml"
    document.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": [wrong]}))
    assert subprocess.run([require_tool("promtool"), "test", "rules", document], capture_output=True).returncode == 1
