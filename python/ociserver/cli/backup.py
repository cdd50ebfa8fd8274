"""`ociserver backup`: a consistent copy of a store that is being served."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

import click

from ociserver.cli.data import place_of, store_options, with_store
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import Command, option
from ociserver.cli.table import counted
from ociserver.cli.terminal import progress
from ociserver.store import Store
from ociserver.store.backup import BackupReport
from ociserver.store.backup import backup as back_up
from ociserver.store.folder import DATABASE
from ociserver.units import format_size

__all__ = ["INCOMPLETE", "backup"]

INCOMPLETE: Final = 3
"""Exit status: the backup is as complete as the store, which lacks contents."""

MAX_SHOWN: Final = 10
"""Maximum number of missing contents that are shown. The JSON has all of them."""

_ELSEWHERE: Final = """\
{place} cannot be copied to a folder. Back it up, while it is served, in this order: copy the bucket, and delete \
nothing in the copy; dump the database, with {how}; copy the bucket again, which adds what was pushed meanwhile. The \
second copy must end within `delete-after` of `objects` after the dump began. Otherwise stop collection \
(`collect-every = 0`) before the dump."""

_HOW: Final = "How to go about it"

_EPILOG: Final = """\
Exit status: 0 the backup is complete and synced; 3 it is complete, but the store itself lacks contents, which
`ociserver check` shows; 1 it failed, and an earlier backup in the folder is unchanged; 2 the command line is wrong.
"""


@click.command(cls=Command, short_help="Copy a store to another folder, while it is served.", epilog=_EPILOG)
@click.argument("destination", type=click.Path(path_type=Path, file_okay=False))
@store_options
@option("--json", "as_json", section=_HOW, is_flag=True, help="Print the report as a JSON object.")
def backup(*, destination: Path, data: Path, config: Path | None, table: str | None, as_json: bool) -> None:
    """Copy a store to DESTINATION, an empty folder or an earlier backup. A server may be running on the store.

    The first backup copies everything, each later one the database and the files that are new. DESTINATION is then a
    store that can be served as it is.
    """

    async def work(store: Store) -> BackupReport:
        with progress("copying") as advance:

            def on_progress(done: int, total: int) -> None:
                advance(done, total, "")

            return await back_up(store, destination, on_progress=on_progress)

    place = place_of(data, config, table)
    if place.external is not None:
        how = "`pg_dump`" if place.folder is None else f"`sqlite3 {place.folder / DATABASE} '.backup FILE'`"
        raise CommandError(_ELSEWHERE.format(place=place, how=how))
    report = with_store(place, work)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(report)))
    else:
        _show(report, destination)
    if report.missing:
        sys.exit(INCOMPLETE)


def _show(report: BackupReport, destination: Path) -> None:
    kept = f", {report.files_kept:,} were there already" if report.files_kept else ""
    removed = f", {report.files_removed:,} removed" if report.files_removed else ""
    click.echo(
        f"{counted(report.files_copied, 'file')} copied ({format_size(report.bytes_copied)}){kept}{removed}; "
        f"database {format_size(report.database_bytes)}"
    )
    for digest in report.missing[:MAX_SHOWN]:
        click.echo(f"missing in the store: {digest}")
    if len(report.missing) > MAX_SHOWN:
        click.echo(f"missing in the store: {len(report.missing) - MAX_SHOWN:,} more")
    click.echo(f"{destination} is complete")
