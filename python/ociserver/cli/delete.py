"""`ociserver delete`: a whole repository, which the protocol has no request for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from ociserver._core import is_repository
from ociserver.cli.data import data_option, with_store
from ociserver.cli.errors import CannotServeError
from ociserver.cli.parameters import Command, option
from ociserver.cli.table import rows_of
from ociserver.cli.units import format_size
from ociserver.errors import OCIError
from ociserver.store import Store
from ociserver.store.inventory import Inventory, inventory

__all__ = ["delete"]

_HOW: Final = "How to go about it"


@click.command(cls=Command, short_help="Delete a whole repository.")
@click.argument("repository")
@data_option
@option("--dry-run", section=_HOW, is_flag=True, help="Only say what would go, and what would break.")
@option("--yes", "-y", section=_HOW, is_flag=True, help="Do not ask.")
def delete(*, repository: str, data: Path, dry_run: bool, yes: bool) -> None:
    """Delete REPOSITORY: its tags, manifests, blobs and uploads. A server may be running on the store.

    Contents that no other repository has are freed by the next collection.
    """
    if not is_repository(repository):
        raise click.UsageError(f"{repository!r} is not the name of a repository.")

    async def look(store: Store) -> Inventory:
        return await store.database.read(inventory(repository))

    try:
        held = with_store(data, look)
        for line in rows_of(
            [
                (str(held.tags), "tags"),
                (str(held.manifests), "manifests"),
                (str(held.blobs), f"blobs, of which {held.own_blobs} ({format_size(held.own_bytes)}) are in no other"),
                (str(held.uploads), "uploads under way: they would break"),
            ]
        ):
            click.echo(line)
        if dry_run:
            return
        if not yes:
            click.confirm(f"Delete {repository} and all of this?", abort=True)
        with_store(data, lambda store: store.delete_repository(repository))
    except OCIError as error:
        raise CannotServeError(f"{repository}: {error.message}") from error
    click.echo(f"deleted {repository}")
