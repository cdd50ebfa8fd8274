"""The JSON Schema of the file, for editors. `python -m ociserver.config.schema` writes it to this folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ociserver.config.load import adapter
from ociserver.settings import HELP, help_of_options

__all__ = ["FILE", "made", "text"]

FILE: Final = Path(__file__).with_name("schema.json")


def text() -> str:
    """The schema that the package contains."""
    return FILE.read_text(encoding="utf-8")


def made() -> str:
    """The schema of the dataclasses, with the help texts of settings that are flags too."""
    texts = {**HELP, **help_of_options()}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ociserver: registry.toml",
        **_tidied(adapter().json_schema()),
    }
    for part in (schema, *schema["$defs"].values()):
        for key, property_ in part["properties"].items():
            property_.setdefault("description", texts.get(key.replace("-", "_"), ""))
            if not property_["description"]:
                del property_["description"]
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _tidied(value: Any) -> Any:
    """Without null, which TOML does not have, and without titles, which repeat the key."""
    if isinstance(value, list):
        return [_tidied(each) for each in value if each != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    tidied = {
        key: {name: _tidied(each) for name, each in inner.items()} if key in ("properties", "$defs") else _tidied(inner)
        for key, inner in value.items()
        if key not in ("title", "discriminator") and not (key == "default" and inner in (None, {}))
    }
    if len(tidied.get("anyOf", ())) == 1:
        (only,) = tidied.pop("anyOf")
        tidied = {**only, **tidied}
    return tidied


if __name__ == "__main__":
    FILE.write_text(made(), encoding="utf-8")
