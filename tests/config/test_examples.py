"""The parser and the schema accept the same files and refuse the same files. The parser says why."""

from __future__ import annotations

import datetime as dt
import json
import math
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ociserver.config import ConfigError, parse, schema
from tests.config.examples import RIGHT, WRONG

FILE = Path("registry.toml")
VALIDATOR = jsonschema.Draft202012Validator(json.loads(schema.text()))


def as_json(value: Any) -> Any:
    """What an editor checks: JSON has no dates and no NaN or infinity, so they are strings there."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, dt.date):
        return {"date": str(value)}
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(schema.text()))
    assert json.loads(schema.text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_is_that_of_the_dataclasses() -> None:
    assert schema.text() == schema.made(), "run: python -m ociserver.config.schema"


def test_the_schema_explains_every_key() -> None:
    document = json.loads(schema.text())
    for part in (document, *document["$defs"].values()):
        for key, property_ in part["properties"].items():
            assert key == "kind" or property_.get("description"), key


@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_file(name: str) -> None:
    parse(RIGHT[name], FILE)
    assert not list(VALIDATOR.iter_errors(as_json(tomllib.loads(RIGHT[name]))))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file(name: str) -> None:
    text, line, key, words = WRONG[name]
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"registry.toml:{line}: {key}: ")
    assert words in problem.text
    assert "secret" not in str(problem).replace("secret-access-key", "")
    assert list(VALIDATOR.iter_errors(as_json(tomllib.loads(text))))


def test_all_mistakes_are_reported_in_order() -> None:
    text = '[registry]\nkind = "sub"\nprefix = 5\nbackend = { kind = "memory" }\n[server]\nport = "x"\nworkers = 0'
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    assert [(each.line, each.key) for each in caught.value.problems] == [
        (3, "registry.prefix"),
        (6, "server.port"),
        (7, "server.workers"),
    ]


@pytest.mark.parametrize(
    "text, line, words",
    [("a = 1\nb = \n", 2, "is not valid TOML: Invalid value"), ('a = """\nb', 2, "is not valid TOML")],
)
def test_a_file_that_is_not_toml(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, FILE)
    assert str(caught.value).startswith(f"registry.toml:{line}: {words}")
