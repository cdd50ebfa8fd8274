"""Names, helps and labels follow Prometheus' conventions, and the document has them all."""

from __future__ import annotations

import re

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric

from ociserver import Memory
from ociserver.metrics import Metrics
from tests.metrics.reference import DOCUMENT, families, rewritten
from tests.metrics.scraping import read

# A number of things that there are now has no unit (https://prometheus.io/docs/practices/naming/).
COUNTS = {
    "http_server_active_requests",
    "ociserver_blobs",
    "ociserver_manifests",
    "ociserver_processes",
    "ociserver_uploads_open",
    "process_max_fds",
    "process_open_fds",
}
# Labels that could have any value that a client or an administrator chooses.
UNBOUNDED = {"repository", "tag", "digest", "user", "client", "path", "host", "upstream"}


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_a_metric_is_named_and_explained(family: Metric) -> None:
    assert re.fullmatch(r"(ociserver|http_server|process)_[a-z_]+", family.name)
    assert family.documentation.endswith((".", "not since the server started."))
    assert family.samples, "no sample"
    assert not UNBOUNDED & set(family.samples[0].labels)
    names = {sample.name for sample in family.samples}
    match family.type:
        case "counter":
            assert names == {f"{family.name}_total"}
        case "info":
            assert names == {f"{family.name}_info"}
        case "histogram":
            assert family.name.endswith("_seconds")
        case _:
            assert family.name in COUNTS or family.name.endswith(("_seconds", "_bytes"))


def test_the_page_can_be_parsed() -> None:
    page = read(generate_latest(Metrics([Memory().figures]).registry).decode())
    assert {family.name for family in page.families} >= {"http_server_request_duration_seconds", "ociserver_build_info"}
    assert all(family.documentation for family in page.families)
    assert all(family.type != "unknown" for family in page.families)


def test_the_document_has_every_metric() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == rewritten(document), "run python -m tests.metrics.reference"
