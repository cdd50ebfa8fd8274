"""The folder of the store that keeps API keys: `--data`, or as a configuration file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ociserver.cli.configured import read
from ociserver.cli.data import default_folder
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import option

if TYPE_CHECKING:
    from ociserver.config import Config

__all__ = ["config_of_store", "folder_in", "folder_of"]


def config_of_store(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--config FILE`."""
    return option(
        "--config",
        section="Which store",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Configuration file of the server, which names the folder of its store.",
    )(command)


def folder_of(data: Path, config: Path | None) -> Path:
    """The folder that `--data` and `--config` name.

    Raises:
        CommandError: the file does not name exactly one, or does not accept keys.
    """
    source = click.get_current_context().get_parameter_source("data")
    if config is None:
        return data
    found = read(config)
    if found.auth is None or not found.auth.api_keys:
        click.echo(f"{config}: keys are refused: set `api-keys = true` in [auth]", err=True)
    return data if source in (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT) else folder_in(found, config)


def folder_in(config: Config, file: Path) -> Path:
    """The folder of the only store of a configuration.

    Raises:
        CommandError: it has none, or several.
    """
    if config.registry is None:
        return default_folder()
    folders = [leaf.data for leaf in config.leaves() if leaf.kind == "store"]
    if len(folders) != 1:
        raise CommandError(f"{file} has {len(folders) or 'no'} stores in folders: set --data to the folder to use.")
    return folders[0] or default_folder()
