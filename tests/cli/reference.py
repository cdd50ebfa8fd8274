"""The tables of flags in docs/cli.md, made from the commands. `python -m tests.cli.reference` updates them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from ociserver.cli import main
from ociserver.cli.parameters import Option

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "cli.md"

_TABLE: Final = re.compile(r"<!-- flags: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)


def command(name: str) -> click.Command:
    """The command of this name."""
    found = main.get_command(click.Context(main), name)
    assert found, name
    return found


def options(command: click.Command) -> list[Option]:
    return [parameter for parameter in command.params if isinstance(parameter, Option)]


def table(command: click.Command) -> str:
    """The flags of a command, or of the commands of a group: one table for each section of their help."""
    if isinstance(command, click.Group):
        tables = [_sections(inner, f"`{name}`: ") for name, inner in sorted(command.commands.items())]
        return "".join(tables) + "\n"
    return _sections(command) + "\n"


def _sections(command: click.Command, prefix: str = "") -> str:
    sections: dict[str, list[Option]] = {}
    for option in options(command):
        sections.setdefault(option.section, []).append(option)
    return "".join(_section(prefix + name, members) for name, members in sections.items())


def _section(name: str, members: list[Option]) -> str:
    rows = [f"| `{_flag(each)}` | `{each.envvar}` | {_default(each)} | {_cell(each.help or '')} |" for each in members]
    head = "| flag | variable | default | meaning |\n| --- | --- | --- | --- |"
    return "\n".join((f"\n**{name}**\n", head, *rows)) + "\n"


def _flag(option: Option) -> str:
    names = ", ".join((*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    metavar = option.make_metavar(click.Context(click.Command("any"))).strip("[]")
    return f"{names} {_cell(metavar)}"


def _default(option: Option) -> str:
    if isinstance(option.show_default, str):
        return _cell(option.show_default)
    if option.secondary_opts:
        return f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    if option.is_flag or not isinstance(option.default, (str, int)) or option.default == "":
        return ""
    return f"`{option.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def commands_in(document: str) -> dict[str, str]:
    """The tables in a document, by command."""
    return dict(_TABLE.findall(document))


def rewritten(document: str) -> str:
    """The document with correct tables."""

    def replace(match: re.Match[str]) -> str:
        return f"<!-- flags: {match[1]} -->\n{table(command(match[1]))}<!-- end -->"

    return _TABLE.sub(replace, document)


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text()))
