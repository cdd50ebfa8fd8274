"""`ociserver auth hash`: makes a line of the file with the users."""

from __future__ import annotations

import sys

import click

from ociserver.auth.htpasswd import check_name
from ociserver.auth.passwords import MAX_PASSWORD_SIZE, Kind, hash_password
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import Command, option

__all__ = ["hash_command"]


@click.command("hash", cls=Command, short_help="Make the line of a user with a password.")
@click.argument("user")
@option(
    "--bcrypt",
    section="Which hash",
    is_flag=True,
    help="Make a bcrypt hash, which Apache and other registries read too, instead of argon2id.",
)
def hash_command(*, user: str, bcrypt: bool) -> None:
    """Print a line USER:HASH for the file with the users, which other programs call htpasswd.

    \b
    ociserver auth hash alice >> users              asks for the password, twice
    ociserver auth hash alice < password >> users   reads one line
    """
    try:
        check_name(user)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    kind: Kind = "bcrypt" if bcrypt else "argon2id"
    try:
        hashed = hash_password(_password(), kind)
    except (ValueError, ImportError) as error:
        raise CommandError(str(error) if str(error).endswith(("'", ".")) else f"{error}.") from None
    click.echo(f"{user}:{hashed}")


def _password() -> bytes:
    """The password: typed twice at a terminal, or the first line of stdin.

    Raises:
        CommandError: stdin is closed or empty.
    """
    if sys.stdin is None:
        raise CommandError("there is no password, because stdin is closed.")
    if sys.stdin.isatty():
        # The questions go to stderr: stdout is the line, and is often appended to the file.
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed.encode("utf-8", "surrogateescape")
    # Enough to see that it is too long, and no more.
    line: bytes = sys.stdin.buffer.readline(MAX_PASSWORD_SIZE + 3)
    if not line:
        raise CommandError("there is no password, because stdin is empty.")
    return line.removesuffix(b"\n").removesuffix(b"\r")
