"""The command line, `ociserver`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

import click

__all__ = ["COMMANDS", "main"]

COMMANDS: Final[Mapping[str, str]] = {
    "auth": "ociserver.cli.auth",
    "backup": "ociserver.cli.backup",
    "bench": "ociserver.cli.bench",
    "check": "ociserver.cli.check",
    "collect": "ociserver.cli.collect",
    "completion": "ociserver.cli.completion",
    "config": "ociserver.cli.config",
    "copy": "ociserver.cli.copy",
    "delete": "ociserver.cli.delete",
    "health": "ociserver.cli.health",
    "key": "ociserver.cli.key",
    "ls": "ociserver.cli.ls",
    "manifest": "ociserver.cli.manifest",
    "referrers": "ociserver.cli.manifest",
    "serve": "ociserver.cli.serve",
    "tags": "ociserver.cli.ls",
}
"""Each command, and the module that has it under this name."""


class LazyGroup(click.Group):
    """Imports a command when it is used. `health` runs every few seconds, and must not load the others.

    Args:
        modules: the module of each command, by the command's name.
    """

    def __init__(self, modules: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        command: click.Command = getattr(importlib.import_module(self._modules[cmd_name]), cmd_name)
        return command


def _show_version(context: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if not value or context.resilient_parsing:
        return
    from ociserver import __version__  # late, as the commands

    click.echo(f"ociserver {__version__}")
    context.exit()


@click.group(
    cls=LazyGroup,
    modules=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """An OCI registry: docker, podman, skopeo, crane, oras and regctl push to it and pull from it."""
