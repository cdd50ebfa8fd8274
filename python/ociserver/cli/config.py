"""`ociserver config`: checks a configuration file, and prints the schema."""

from __future__ import annotations

from pathlib import Path

import click

from ociserver.cli.config_lints import warnings
from ociserver.cli.configured import read

__all__ = ["config"]


@click.group(short_help="Check a configuration file, or print the schema.")
def config() -> None:
    """Check a file for `ociserver serve --config FILE`, or print the JSON Schema of such files."""


@config.command(short_help="Check a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Check FILE, and print a line for each mistake, with its place and how to correct it.

    Environment variables and other files that FILE names must exist. Warnings are about what is allowed, but probably a
    mistake. Exit status: 0 no mistake; 2 one or more.
    """
    for warning in warnings(read(file), file):
        click.echo(warning, err=True)
    click.echo(f"{file}: no mistakes")


@config.command(short_help="Print the JSON Schema.")
def schema() -> None:
    """Print the JSON Schema of the file, with which editors complete and check it."""
    from ociserver.config.schema import text  # late, as in `configured.read`

    click.echo(text(), nl=False)
