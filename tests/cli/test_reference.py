"""docs/cli.md matches `--help`: every command, every flag, its variable, its default, its meaning."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from ociserver.cli import COMMANDS as MODULES
from tests.cli.process import clean_environment
from tests.cli.reference import DOCUMENT, command, commands_in, options, table

COMMANDS = sorted(MODULES)


def help_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ociserver", command, "--help"],
        env=clean_environment({"COLUMNS": "100"}),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def without_spaces(text: str) -> str:
    """Without spaces, texts that were wrapped at different widths are equal."""
    return re.sub(r"\s+", "", text)


def test_every_command_is_documented() -> None:
    assert sorted(commands_in(DOCUMENT.read_text())) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_tables_are_those_of_the_commands(name: str) -> None:
    expected = table(command(name))
    assert commands_in(DOCUMENT.read_text())[name] == expected, "run: python -m tests.cli.reference"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_has_every_flag_with_its_text_and_variable(name: str) -> None:
    printed = without_spaces(help_of(name))
    for option in options(command(name)):
        assert option.help, f"{option.opts} has no help"
        assert option.help.endswith("."), f"{option.opts}: sentences"
        for text in (*option.opts, *option.secondary_opts, option.help, str(option.envvar), f"{option.section}:"):
            assert without_spaces(text) in printed, f"{text!r} is not in `ociserver {name} --help`"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_an_option_with_a_section(name: str) -> None:
    """An `Option` has a variable and a section. A plain option of click has neither."""
    plain = [parameter.name for parameter in command(name).params if parameter.param_type_name == "option"]
    assert plain == [option.name for option in options(command(name))]


def test_the_help_fits_a_terminal() -> None:
    assert max(map(len, help_of("serve").splitlines())) <= 100
