"""`ociserver config`: what helps to write a configuration file."""

from __future__ import annotations

from pathlib import Path

import click

from ociserver.cli.configured import read

__all__ = ["config"]


@click.group(short_help="Check a configuration file, or show its schema.")
def config() -> None:
    """What helps to write the file of `ociserver serve --config FILE`."""


@config.command(short_help="Say what is wrong with a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Say what is wrong with FILE: a line for each mistake, with what would be right.

    Texts that the file takes from the environment or from other files have to be there. Exit status: 0 nothing is
    wrong, 2 something is.
    """
    read(file)
    click.echo(f"{file}: nothing is wrong")


@config.command(short_help="Print the JSON Schema of the file.")
def schema() -> None:
    """Print the JSON Schema of the file, with which editors complete and check it."""
    from ociserver.config.schema import text  # imported late for the same reason as in `read`

    click.echo(text(), nl=False)
