"""The folder of a durable store, for the commands that work on one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from platformdirs import user_data_path

from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import option
from ociserver.compose.cache.accounts import settle_folder
from ociserver.container import DATA, is_container
from ociserver.errors import OCIError
from ociserver.store import Store, StoreError
from ociserver.store.folder import DATABASE, check_folder

__all__ = ["data_option", "default_folder", "with_store"]

Result = TypeVar("Result")

_WHERE: Final = "Which store"


def default_folder() -> Path:
    """The folder of the store by default: the user's data directory, or the volume of the container image."""
    return Path(DATA) if is_container(os.environ) else user_data_path("ociserver")


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--data DIR`."""
    return option(
        "--data",
        section=_WHERE,
        type=click.Path(path_type=Path, file_okay=False),
        default=default_folder,
        show_default="the user's data directory",
        metavar="DIR",
        help="The folder of the store, as for `ociserver serve`. A server may be running on it.",
    )(command)


def with_store(
    folder: Path, work: Callable[[Store], Coroutine[Any, Any, Result]], *, takes_away: bool = False
) -> Result:
    """Open the store of a folder, do something with it, and close it.

    Args:
        folder: of the store.
        work: what to do.
        takes_away: whether it may have removed contents from the store, which a cache on the folder must know.

    Raises:
        CommandError: there is no store, or it cannot be opened.
    """
    try:
        # Says what another program's folder looks like, and which link leads nowhere.
        check_folder(folder)
    except StoreError as error:
        raise CommandError(f"{error}.") from error
    except OSError as error:
        raise CommandError(f"cannot read {folder}: {error.strerror}") from error
    if not (folder / DATABASE).exists():
        raise CommandError(f"{folder} contains no store. Set --data to the folder that `ociserver serve` uses.")

    async def run() -> Result:
        async with Store(folder) as store:
            result = await work(store)
            if takes_away:
                await settle_folder(store)
            return result

    try:
        return asyncio.run(run())
    except OCIError as error:
        raise CommandError(f"{folder}: {error.message}") from error
    except (StoreError, OSError) as error:
        raise CommandError(str(error)) from error
