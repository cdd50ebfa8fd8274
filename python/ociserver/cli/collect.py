"""`ociserver collect`: deletes what is no longer needed, while a server runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from ociserver.cli.data import Place, place_of, store_options, with_store
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import DURATION, Command, option
from ociserver.cli.table import counted, rows_of
from ociserver.cli.terminal import progress
from ociserver.serve.schedule import BUSY
from ociserver.settings import HELP
from ociserver.store import Store
from ociserver.store.collect import CollectionRunningError, Freed, Policy, Reason, Report
from ociserver.store.collect import collect as collect_store
from ociserver.units import format_size

__all__ = ["collect", "policy_from", "policy_options"]

_EPILOG: Final = """\
Exit status: 0 done; 3 another collection is running, on this or another node; 1 it failed; 2 the command line is wrong.
"""

_WHAT: Final = "What to delete"
_HOW: Final = "How to go about it"

_REASONS: Final[dict[Reason, tuple[str, str]]] = {
    "untagged": ("manifest", "that nothing tags or references"),
    "abandoned": ("upload", "that nobody finished"),
    "unreferenced": ("blob", "removed from a repository"),
    "unlinked": ("content", "that no repository has"),
    "unknown": ("file", "that nothing names"),
    "recorded": ("object", "of the bucket that nothing needs"),
}


_POLICY: Final = (
    option(
        "--unreferenced-after",
        section=_WHAT,
        type=DURATION,
        default="24h",
        metavar="DURATION",
        help=HELP["unreferenced_after"],
    ),
    option(
        "--grace",
        section=_WHAT,
        type=DURATION,
        default="10m",
        metavar="DURATION",
        help=HELP["grace"],
    ),
    option(
        "--upload-timeout",
        section=_WHAT,
        type=DURATION,
        default="24h",
        metavar="DURATION",
        help=HELP["upload_timeout"],
    ),
    option(
        "--delete-untagged-after",
        section=_WHAT,
        type=DURATION,
        metavar="DURATION",
        help=HELP["delete_untagged_after"],
    ),
)


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that say what to delete. `serve` has them too."""
    for decorate in reversed(_POLICY):
        command = decorate(command)
    return command


def policy_from(values: dict[str, Any]) -> Policy:
    """The policy that the flags describe."""
    return Policy(
        unreferenced_after_s=values["unreferenced_after"],
        grace_s=values["grace"],
        upload_timeout_s=values["upload_timeout"],
        delete_untagged_after_s=values["delete_untagged_after"],
    )


class BusyError(CommandError):
    """Another collection is running, here or on another node."""

    exit_code = BUSY


def _with_file(values: dict[str, Any], place: Place) -> dict[str, Any]:
    """The flags, and what the configuration file says instead of their defaults."""
    if place.table is None:
        return values
    from ociserver.cli.configured import settings_of  # late, because it loads what only `serve` needs

    context = click.get_current_context()
    types = {parameter.name: parameter for parameter in context.command.params}
    said = {
        name: types[name].type_cast_value(context, text)
        for name, text in settings_of(place.table).items()
        if name in values and context.get_parameter_source(name) is ParameterSource.DEFAULT
    }
    return values | said


@click.command(cls=Command, short_help="Delete what is no longer needed.", epilog=_EPILOG)
@store_options
@policy_options
@option("--dry-run", section=_HOW, is_flag=True, help="Only print what would be deleted.")
@option("--verbose", "-v", section=_HOW, is_flag=True, help="Print each item that is deleted, and why.")
@option("--json", "as_json", section=_HOW, is_flag=True, help="Print the report as a JSON object.")
def collect(
    *,
    data: Path,
    config: Path | None,
    table: str | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Delete what is no longer needed, while pushes and pulls continue.

    What a push in progress needs is kept: see --unreferenced-after and --grace. `ociserver serve` does the same at the
    interval of its --collect-every. With --config, the file says what to delete, unless a flag does.
    """

    async def work(store: Store) -> Report:
        # A bar would be drawn into the lines of --verbose.
        with progress("collecting", hidden=verbose) as advance:

            def on_progress(done: int, total: int) -> None:
                advance(done, total, "")

            def on_freed(freed: Freed) -> None:
                if verbose:
                    where = f" in {freed.repository}" if freed.repository else ""
                    click.echo(f"{freed.reason}: {freed.what}{where}, {format_size(freed.size)}")

            try:
                return await collect_store(store, policy, dry_run=dry_run, on_freed=on_freed, on_progress=on_progress)
            except CollectionRunningError as error:
                raise BusyError(f"{error}.") from error

    place = place_of(data, config, table)
    policy = policy_from(_with_file(values, place))
    report = with_store(place, work, takes_away=not dry_run)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "dry_run": dry_run,
                    "counts": report.counts,
                    "bytes": report.sizes,
                    "freed_bytes": report.freed_bytes,
                    "pending_bytes": report.pending_bytes,
                    "kept_bytes": report.kept_bytes,
                }
            )
        )
        return
    rows = [
        (*f"{counted(report.counts[reason], noun)} {rest}".split(" ", 1), format_size(report.sizes[reason]))
        for reason, (noun, rest) in _REASONS.items()
        if reason in report.counts
    ]
    for line in rows_of(rows):
        click.echo(line)
    if not rows:
        click.echo("nothing to collect")
        return
    click.echo(f"{format_size(report.freed_bytes)} {'would be freed' if dry_run else 'freed'}")
    if report.kept_bytes:
        click.echo(f"{format_size(report.kept_bytes)} stay in the database, for what is pushed next")
    if report.pending_bytes:
        click.echo(f"{format_size(report.pending_bytes)} follow when no program reads the database any more")
