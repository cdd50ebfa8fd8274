"""Failures that end the command with one line on stderr, and no traceback.

Exit status 2: the command line is wrong (`click.UsageError`), or the configuration file. 1: they are right, but the
machine is not as it would have to be.
"""

from __future__ import annotations

from typing import IO, Any

import click

__all__ = ["CannotServeError", "WrongConfigError"]


class CannotServeError(click.ClickException):
    """The server cannot start; the message says why, and what to do."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"ociserver: {self.format_message()}", file=file, err=file is None)


class WrongConfigError(CannotServeError):
    """A configuration file that is wrong, with a line for each mistake, as compilers and linters print them."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file, err=file is None)
