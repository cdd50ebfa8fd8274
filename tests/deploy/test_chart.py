"""The values of the Helm chart. `test_chart_rendered.py` renders it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import pytest
import yaml

from tests.support.tools import ROOT

CHART: Final = ROOT / "deploy" / "helm" / "ociserver"
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
IMAGE: Final = "image.repository=registry.example/ociserver"
KUBERNETES: Final = "1.33"


def strings(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, f"{path}.{key}")
    elif isinstance(value, str):
        yield path, value


def test_the_values_match_their_schema() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(VALUES, schema)
    with pytest.raises(jsonschema.ValidationError, match="replicas"):
        jsonschema.validate(VALUES | {"replicas": 1}, schema)


def test_the_chart_installs_this_version() -> None:
    version = re.search(r'^version = "([^"]+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert version
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version[1]


def test_no_value_is_a_secret() -> None:
    secret = re.compile(r"password|secret|token|htpasswd", re.IGNORECASE)
    found = {path: value for path, value in strings(VALUES) if secret.search(path) and value}
    assert found == {".auth.htpasswd.key": "htpasswd"}, "the name of a key"
