"""The durable store that a command works on: in a folder, or where a configuration file says."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource
from platformdirs import user_data_path

from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import option
from ociserver.compose.cache.accounts import settle_store
from ociserver.container import DATA, is_container
from ociserver.errors import OCIError
from ociserver.store import Store, StoreError
from ociserver.store.folder import DATABASE, check_folder

if TYPE_CHECKING:
    from ociserver.config import Config
    from ociserver.config.holders import Store as Table
    from ociserver.store.external import External

__all__ = ["Place", "check_folder_of_store", "default_folder", "place_in", "place_of", "store_options", "with_store"]

Result = TypeVar("Result")

_WHERE: Final = "Which store"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is.

    Args:
        folder: None: it has none.
        external: what it has outside of the folder.
        arguments: the flags that name it to another command.
        table: its table in the configuration file that names it.
    """

    folder: Path | None
    external: External | None
    arguments: tuple[str, ...]
    table: Table | None = None

    def __str__(self) -> str:
        return str(self.folder) if self.external is None else self.external.name

    def command(self, *words: str) -> str:
        """A command line for this store."""
        return shlex.join(["ociserver", words[0], *self.arguments, *words[1:]])

    def store(self) -> Store:
        """The store, not yet open.

        Raises:
            CommandError: packages for a database or a bucket are not installed, or their settings are wrong.
        """
        try:
            return Store(self.folder, **({} if self.external is None else self.external.made()))
        except ValueError as error:
            raise CommandError(str(error)) from None


def default_folder() -> Path:
    """The folder of the store by default: the user's data directory, or the volume of the container image."""
    return Path(DATA) if is_container(os.environ) else user_data_path("ociserver")


def store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--data DIR`, `--config FILE` and `--store TABLE`. `place_of` gets their values."""
    options = (
        option(
            "--data",
            section=_WHERE,
            type=click.Path(path_type=Path, file_okay=False),
            default=default_folder,
            show_default="the user's data directory",
            metavar="DIR",
            help="The folder of the store, as for `ociserver serve`. A server may be running on it.",
        ),
        option(
            "--config",
            section=_WHERE,
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="The configuration file of the server, which names its store, instead of --data.",
        ),
        option(
            "--store",
            "table",
            section=_WHERE,
            metavar="TABLE",
            help="Of several stores in the configuration file, the one of this table, such as registry.backends[0].",
        ),
    )
    for decorate in reversed(options):
        command = decorate(command)
    return command


def place_of(data: Path, config: Path | None, table: str | None) -> Place:
    """The store that `--data`, `--config` and `--store` name. The command line counts more than variables.

    Raises:
        CommandError: the file does not name exactly one.
    """
    source = click.get_current_context().get_parameter_source
    order = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
    given = [name for each in order for name in ("data", "config") if source(name) is each]
    if config is None or given[:1] == ["data"]:
        if table is not None:
            raise click.UsageError("--store names a table of a configuration file, so it needs --config.")
        return _in_folder(data)
    from ociserver.cli.configured import read  # late, because it loads what only `serve` needs

    return place_in(read(config), config, table)


def place_in(config: Config, file: Path, table: str | None = None) -> Place:
    """The only store of a configuration, or the one of a table.

    Raises:
        CommandError: it has none, or several.
    """
    from ociserver.config.problems import dotted  # late, as in `configured.read`

    if config.registry is None:
        return _in_folder(default_folder())
    stores = {
        dotted(keys): leaf for leaf, keys in zip(config.leaves(), config.places(), strict=True) if leaf.kind == "store"
    }
    if table is not None and table not in stores:
        raise CommandError(f"{file} has no store in the table {table!r}; it has {', '.join(stores) or 'none'}.")
    if table is None and len(stores) != 1:
        what = f"several stores: set --store to one of {', '.join(stores)}" if stores else "no store"
        raise CommandError(f"{file} has {what}.")
    name, found = next(iter(stores.items())) if table is None else (table, stores[table])
    external = found.external
    has_folder = external is None or external.database is None
    arguments = ("--config", str(file)) + (("--store", name) if len(stores) > 1 else ())
    return Place((found.data or default_folder()) if has_folder else None, external, arguments, found)


def _in_folder(folder: Path) -> Place:
    return Place(folder, None, () if folder == default_folder() else ("--data", str(folder)))


def with_store(
    place: Place, work: Callable[[Store], Coroutine[Any, Any, Result]], *, takes_away: bool = False
) -> Result:
    """Open a store, do something with it, and close it.

    Args:
        place: where it is.
        work: what to do.
        takes_away: whether it may have removed contents from the store, which a cache in front of it must know.

    Raises:
        CommandError: there is no store, or it cannot be opened.
    """
    if place.folder is not None:
        check_folder_of_store(place.folder)

    async def run() -> Result:
        async with place.store() as store:
            result = await work(store)
            if takes_away:
                await settle_store(store)
            return result

    try:
        return asyncio.run(run())
    except OCIError as error:
        raise CommandError(f"{place}: {error.message}") from error
    except (StoreError, OSError) as error:
        raise CommandError(str(error)) from error


def check_folder_of_store(folder: Path) -> None:
    """Raises CommandError if a folder contains no store."""
    try:
        # Says what another program's folder looks like, and which link leads nowhere.
        check_folder(folder)
    except StoreError as error:
        raise CommandError(f"{error}.") from error
    except OSError as error:
        raise CommandError(f"cannot read {folder}: {error.strerror}") from error
    if not (folder / DATABASE).exists():
        raise CommandError(f"{folder} contains no store. Set --data to the folder that `ociserver serve` uses.")
