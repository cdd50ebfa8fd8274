"""`ociserver completion`: prints a script that completes commands and flags in a shell."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from ociserver.cli.parameters import Command

__all__ = ["completion"]

VARIABLE: Final = "_OCISERVER_COMPLETE"
"""The environment variable by which the script asks `ociserver` for words. click reads it in every command."""


@click.command(cls=Command, short_help="Print a script that completes commands and flags.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, *, shell: str) -> None:
    """Print a script for SHELL that completes commands, flags and their values. To use it in every new shell:

    \b
    bash   echo 'eval "$(ociserver completion bash)"' >> ~/.bashrc
    zsh    echo 'eval "$(ociserver completion zsh)"' >> ~/.zshrc    after compinit
    fish   ociserver completion fish > ~/.config/fish/completions/ociserver.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "ociserver", VARIABLE).source())
