"""`ociserver config`: checks a configuration file, and prints its schema."""

from __future__ import annotations

from pathlib import Path

import click

from ociserver.cli.configured import read

__all__ = ["config"]


@click.group(short_help="Check a configuration file, or show its schema.")
def config() -> None:
    """Check a configuration file of `ociserver serve --config FILE`, or print its schema."""


@config.command(short_help="Check a file.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Check FILE, and print a line for each mistake, with what would be right.

    Environment variables and other files that FILE names must exist. Exit status: 0 no mistake; 2 one or more.
    """
    read(file)
    click.echo(f"{file}: nothing is wrong")


@config.command(short_help="Print the JSON Schema of the file.")
def schema() -> None:
    """Print the JSON Schema of the file, for editors that complete and check it."""
    from ociserver.config.schema import text  # imported late for the same reason as in `read`

    click.echo(text(), nl=False)
