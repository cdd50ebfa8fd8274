"""`ociserver config`: checks a configuration file, and prints the schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ociserver.cli.config_connect import Tried, tried_connections
from ociserver.cli.config_lints import warnings
from ociserver.cli.errors import CommandError, WrongConfigError
from ociserver.cli.parameters import Command, option
from ociserver.cli.registries import json_option
from ociserver.cli.terminal import paint

if TYPE_CHECKING:
    from ociserver.config.problems import Problem

__all__ = ["config"]


@click.group(short_help="Check a configuration file, or print the schema.")
def config() -> None:
    """Check a file for `ociserver serve --config FILE`, or print the JSON Schema of such files."""


@config.command(cls=Command, short_help="Check a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@option(
    "--connect",
    section="How to go about it",
    is_flag=True,
    help="Also try the database and the bucket of each store that has one. What is made there is removed again.",
)
@json_option("mistakes and warnings")
@click.pass_context
def check(context: click.Context, *, file: Path, connect: bool, as_json: bool) -> None:
    """Check FILE, and print a line for each mistake, with its place and how to correct it.

    Environment variables and other files that FILE names must exist. Warnings are about what is allowed, but probably a
    mistake. Exit status: 0 no mistake; 1 a database or a bucket cannot be used; 2 one or more mistakes.
    """
    from ociserver.config import ConfigError, load_to_build  # late, as in `configured.read`

    try:
        config = load_to_build(file)
        found = warnings(config, file)
    except ConfigError as error:
        if not as_json:
            raise WrongConfigError(str(error)) from error
        click.echo(json.dumps(_report(file, mistakes=error.problems, warned=[])))
        context.exit(WrongConfigError.exit_code)
    tried = tried_connections(config, file) if connect else Tried()
    found += tried.warnings
    if as_json:
        report = _report(file, mistakes=tried.faults, warned=found)
        click.echo(json.dumps({**report, "connections": tried.facts} if connect else report))
    else:
        for warning in found:
            click.echo(replace(warning, text=f"warning: {warning.text}"), err=True)
        for fault in tried.faults:
            click.echo(fault, err=True)
        for fact in tried.facts:
            click.echo(fact)
        if not tried.faults:
            click.echo(f"{file}: {paint('no mistakes', 'good')}")
    if tried.faults:
        context.exit(CommandError.exit_code)


def _report(file: Path, *, mistakes: Sequence[Problem], warned: Sequence[Problem]) -> dict[str, Any]:
    return {"file": str(file), "mistakes": list(map(_described, mistakes)), "warnings": list(map(_described, warned))}


def _described(problem: Problem) -> dict[str, Any]:
    return {"file": str(problem.file), "line": problem.line, "key": problem.key, "message": problem.text}


@config.command(short_help="Print the JSON Schema.")
def schema() -> None:
    """Print the JSON Schema of the file, with which editors complete and check it."""
    from ociserver.config.schema import text  # late, as in `configured.read`

    click.echo(text(), nl=False)
