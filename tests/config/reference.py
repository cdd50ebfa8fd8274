"""docs/config-reference.md, made from the schema of the file. `python -m tests.config.reference` updates it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ociserver.config import schema
from ociserver.units import DURATION_PATTERN, SIZE_PATTERN

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "config-reference.md"

_HEAD: Final = """\
# All keys of the configuration file

[The configuration file](config.md) says how it works and has examples. This page is made from the JSON Schema that
`ociserver config schema` prints. A key of `[server]`, `[options]` or a store has the default of the
[flag](cli.md#flags-of-ociserver-serve) with its name. "Elsewhere" means that the value may also be
`{ env = "NAME" }` or `{ file = "PATH" }`.
"""

_WITHIN: Final = {
    "Htpasswd": "`[auth.htpasswd]`",
    "TokenServer": "`[auth.token-server]`",
    "Oidc": "`[auth.oidc.NAME]`",
    "AuthRule": "`[[auth.rules]]`",
    "Objects": "`[registry.objects]`",
}
"""Headings of the tables within other tables. Those of the others follow from the schema."""

Part = dict[str, Any]

_SCHEMA: Final[Part] = json.loads(schema.text())
_TITLES: Final = {
    part["$ref"].rpartition("/")[2]: f"`[{name}]`" for name, part in _SCHEMA["properties"].items() if "$ref" in part
} | _WITHIN
"""The headings of all tables that are no registries, in the order of the page."""


def document() -> str:
    """The text of the page."""
    definitions: dict[str, Part] = _SCHEMA["$defs"]
    kinds = [name for name in definitions if name not in _TITLES]
    sections = [_section(f"## {title}", definitions[name]) for name, title in _TITLES.items()]
    sections.append("## `[registry]`\n\nOne of the following tables. `kind` says which.\n")
    for name in kinds:
        kind = definitions[name]["properties"]["kind"]["const"]
        sections.append(_section(f'### `kind = "{kind}"`', definitions[name]))
    return "\n".join([_HEAD, *sections])


def _section(heading: str, part: Part) -> str:
    required = part.get("required", ())
    rows = [
        f"| `{key}`{', required' if key in required else ''} | {_type(value)} | {_cell(value['description'])} |"
        for key, value in part["properties"].items()
        if key != "kind"
    ]
    table = "| key | value | meaning |\n| --- | --- | --- |"
    return "\n".join([heading, "", part["description"], "", table, *rows, ""])


def _type(value: Part) -> str:
    """What a value may be, for people."""
    if "enum" in value:
        return ", ".join(f"`{each}`" for each in value["enum"])
    if "$ref" in value:
        return _table(value["$ref"])
    if "oneOf" in value:
        return "[a registry](#registry)"
    if "anyOf" in value:
        return _one_of(value["anyOf"])
    match value["type"]:
        case "boolean":
            return "`true`, `false`"
        case "integer":
            return f"number from {value['minimum']}" + (f" to {value['maximum']}" if "maximum" in value else "")
        case "array":
            return f"list: {_type(value['items'])}"
        case "object":
            return f"table by name: {_type(value['additionalProperties'])}"
    return "string"


def _one_of(choices: list[Part]) -> str:
    pattern = choices[0].get("pattern", "")
    if DURATION_PATTERN in pattern:
        return 'duration: `"30s"`, or seconds'
    if SIZE_PATTERN in pattern:
        return 'size: `"10GiB"`, or bytes'
    assert any("env" in each.get("properties", ()) for each in choices), choices
    return f"{'URL' if 'http' in pattern else 'string'}, or elsewhere"


def _table(reference: str) -> str:
    title = _TITLES[reference.rpartition("/")[2]]
    anchor = "".join(letter for letter in title.lower() if letter.isalnum() or letter in "-_")
    return f"[{title}](#{anchor})"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
