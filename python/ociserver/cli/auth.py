"""`ociserver auth`: prepares who may use a registry."""

from __future__ import annotations

import click

from ociserver.cli.auth_explain import explain
from ociserver.cli.auth_hash import hash_command

__all__ = ["auth"]


@click.group(short_help="Users of a registry, and their rights.")
def auth() -> None:
    """Prepare the users of a registry, and their rights."""


for command in (hash_command, explain):
    auth.add_command(command)
