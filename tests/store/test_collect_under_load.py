"""Collection without pause and without grace, beside clients that push, mount, pull and delete the same contents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.churn.load import Report, run
from tests.support.churn.place import OnTwoNodes
from tests.support.churn.tally import percentiles_ms

FULL = "FULL_TESTS" in os.environ
SECONDS = 600 if FULL else 60 if "CI" in os.environ else 10
# The load of two nodes has the transactions of one node too.
SECONDS_OF_ONE = 600 if FULL else 10


@pytest.mark.timeout(SECONDS_OF_ONE + 110)
def test_nothing_that_was_promised_is_collected_and_all_else_is(tmp_path: Path) -> None:
    check(run(tmp_path, SECONDS_OF_ONE), "unlinked", "unreferenced", "untagged", "abandoned")


@pytest.mark.timeout(SECONDS + 110)
def test_nothing_that_was_promised_by_one_of_two_nodes_is_collected(tmp_path: Path) -> None:
    place = OnTwoNodes(tmp_path, postgres.create("churn"))
    check(run(tmp_path, SECONDS, place), "unlinked", "unreferenced", "untagged", "recorded")


def check(report: Report, *reasons: str) -> None:
    """Check that the load has shown something: all deeds, and collections for these reasons."""
    counts = report.tally.counts
    print(f"{report.collections} collections freed {report.freed_bytes} bytes: {dict(report.freed)}")
    print(f"{dict(counts)}, {report.left} images left")
    print(f"push, pull: {percentiles_ms(report.tally.push_s)}, {percentiles_ms(report.tally.pull_s)} ms (p50, p99)")
    done = ("pushes of an image", "pushes of an index", "pulls", "mounts", "deletes", "blobs that were there")
    assert all(counts[deed] > 10 for deed in done)
    assert set(reasons) <= set(report.freed)
    assert report.collections > 1
    assert report.left > 10
