"""`--json`, for programs: every command whose result a program may read has it."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ociserver.cli import main
from tests.cli.reference import command

READ_BY_PROGRAMS = ("check", "collect", "config check", "copy", "delete", "ls", "manifest", "referrers", "tags")

WRONG = """\
[server]
port = true

[registry]
kind = "stor"
"""


@pytest.mark.parametrize("name", READ_BY_PROGRAMS)
def test_a_command_has_json(name: str) -> None:
    first, *rest = name.split()
    found = command(first)
    for part in rest:
        assert isinstance(found, click.Group)
        found = found.commands[part]
    assert "--json" in {flag for parameter in found.params for flag in parameter.opts}


def test_the_mistakes_of_a_file_as_json(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(WRONG)
    done = CliRunner().invoke(main, ["config", "check", "--json", str(file)])
    assert done.exit_code == 2
    report = json.loads(done.stdout)
    assert (report["file"], report["warnings"]) == (str(file), [])
    assert [(each["file"], each["line"], each["key"]) for each in report["mistakes"]] == [
        (str(file), 2, "server.port"),
        (str(file), 5, "registry.kind"),
    ]
    assert "did you mean store?" in report["mistakes"][1]["message"]


def test_the_warnings_of_a_file_as_json(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[server]\ntrusted-proxies = ["10.0.0.0/8", "0.0.0.0/0"]\n')
    done = CliRunner().invoke(main, ["config", "check", "--json", str(file)])
    report = json.loads(done.stdout)
    assert (done.exit_code, done.stderr, report["mistakes"]) == (0, "", [])
    (warning,) = report["warnings"]
    assert (warning["line"], warning["key"]) == (2, "server.trusted-proxies[1]")
    assert warning["message"].startswith("trusts everybody")
