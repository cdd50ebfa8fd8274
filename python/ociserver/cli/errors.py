"""Failures that end a command with one line on stderr, without a traceback.

Exit status 2: the command line (`click.UsageError`) or the configuration file is wrong. Exit status 1: they are right,
but something else prevents the command from doing its work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from ociserver.cli.terminal import paint
from ociserver.serve.errors import CannotServeError

__all__ = ["CommandError", "WrongConfigError", "missing_packages", "serving_errors"]


class CommandError(click.ClickException):
    """The command cannot do its work. The message says what happened, where, and what to do."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        name = paint("ociserver:", "bad", sys.stderr if file is None else file)
        click.echo(f"{name} {self.format_message()}", file=file, err=file is None)


class WrongConfigError(CommandError):
    """The configuration file is wrong. The message has a line for each mistake, as compilers and linters print them."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.format_message(), file=file, err=file is None)


def missing_packages(error: ImportError) -> CommandError:
    """The error of a command that needs the packages of the extra `client`."""
    return CommandError(
        f"this command needs packages that are not installed ({error}). Install them: pip install 'ociserver[client]'"
    )


@contextmanager
def serving_errors() -> Iterator[None]:
    """Turn the errors of the server into errors of the command."""
    try:
        yield
    except CannotServeError as error:
        raise CommandError(str(error)) from error
