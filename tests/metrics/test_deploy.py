"""The alerts and the dashboard: their queries can be parsed, and ask for metrics and labels that a server has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml

from tests.metrics.reference import families

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RULES: Final = DEPLOY / "prometheus" / "ociserver.rules.yml"
DASHBOARD: Final = DEPLOY / "grafana" / "ociserver.json"

# What Prometheus adds to each sample.
TARGET: Final = {"job", "instance"}
# Metrics that no query needs.
UNUSED: Final = {
    "ociserver_stored_timestamp_seconds",
    "process_virtual_memory_bytes",
    "ociserver_collection_duration_seconds",
}


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Every query, with a name for it."""
    for rule in alerts():
        yield f"alert {rule['alert']}", rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']} {target['refId']}", in_prometheus(target["expr"])
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for annotation in dashboard["annotations"]["list"]:
        yield f"annotation {annotation['name']}", in_prometheus(annotation["expr"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            inner = re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])
            assert inner
            yield f"variable {variable['name']}", in_prometheus(inner[1])


def in_prometheus(query: str) -> str:
    """A query as Grafana sends it."""
    return query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")


def selectors(expression: Any) -> Iterator[Any]:
    """The selectors of an expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for part in ("lhs", "rhs", "expr", "param", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from selectors(argument)


def samples() -> dict[str, dict[str, set[str]]]:
    """The values of the labels of each sample that a server can give, by its name."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in families():
        for sample in family.samples:
            for name, value in sample.labels.items():
                found.setdefault(sample.name, {}).setdefault(name, set()).add(value)
            found.setdefault(sample.name, {})
    return found


@pytest.mark.parametrize("name, query", list(queries()), ids=[name for name, _ in queries()])
def test_a_query_asks_for_what_there_is(name: str, query: str) -> None:
    known = samples()
    asked = list(selectors(promql_parser.parse(query)))
    assert asked, query
    for selector in asked:
        assert selector.name in known, f"{name}: no metric is called {selector.name}"
        for matcher in selector.matchers.matchers:
            if matcher.name in TARGET:
                continue
            assert matcher.name in known[selector.name], f"{name}: {selector.name} has no label {matcher.name}"
            if matcher.name not in ("http_route", "http_response_status_code"):  # these have a sample per request
                values = known[selector.name][matcher.name]
                assert any(re.fullmatch(matcher.value, value) for value in values), f"{name}: {matcher}"


def test_every_metric_is_on_the_dashboard() -> None:
    asked = {
        re.sub(r"_(bucket|count|sum)$", "", selector.name)
        for _, query in queries()
        for selector in selectors(promql_parser.parse(query))
    }
    names = {family.name + {"counter": "_total", "info": "_info"}.get(family.type, "") for family in families()}
    assert names - asked == UNUSED


def test_an_alert_says_what_is_wrong() -> None:
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())
    for rule in alerts():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


def test_the_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
