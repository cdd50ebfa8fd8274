"""The tables of requests and answers: over every backend under granian, and over two of them under uvicorn too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases.runner import Case, run
from tests.contract.registries import BACKENDS
from tests.serving.site import Site
from tests.support.summary import PART, Record

# What a server does differently does not depend on where the registry has its contents.
PLACES = [
    ("granian", [registry.name for registry in BACKENDS]),
    ("uvicorn", ["memory", "store"]),
]

CASES: list[Case] = json.loads(Path(__file__).with_name("cases.json").read_text())


def test_no_case_is_missing() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) == 148


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize(
    "cases_site, registry",
    [(server, registry) for server, registries in PLACES for registry in registries],
    indirect=["cases_site"],
    scope="session",  # one server for all cases
)
def test_case(
    case: Case, registry: str, cases_site: Site, request: pytest.FixtureRequest, record_property: Record
) -> None:
    server = request.node.callspec.params["cases_site"]
    record_property(PART, f"cases, {registry} over {server}")
    assert run(case, cases_site, registry) == []
