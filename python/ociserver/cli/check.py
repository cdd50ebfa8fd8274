"""`ociserver check`: whether everything is there, whole and right."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

import click

from ociserver.cli.data import data_option, with_store
from ociserver.cli.parameters import Command, option
from ociserver.cli.table import rows_of
from ociserver.cli.units import format_size
from ociserver.store import Store
from ociserver.store.check import HARMLESS, Checked
from ociserver.store.check import check as check_store

__all__ = ["LEFT", "REPAIRED", "check"]

REPAIRED: Final = 3
LEFT: Final = 4
"""Exit statuses: faults were found and all were repaired, or some are left."""

_HOW: Final = "How to go about it"

_EPILOG: Final = """\
Exit status: 0 nothing is wrong; 3 faults were found, and all repaired; 4 faults are left; 1 the store could not be
checked; 2 the command line is wrong. Bytes that nothing links, and references that a lax registry took, are shown
but are no faults.
"""


@click.command(
    cls=Command,
    short_help="Check a store, and repair it.",
    epilog=_EPILOG,
)
@data_option
@option("--content", section=_HOW, is_flag=True, help="Read every blob and compare its digest, not only its size.")
@option(
    "--repair",
    section=_HOW,
    is_flag=True,
    help="Mark blobs that are missing or wrong, so that they answer 404 and the next push heals them; delete manifests "
    "that are not what their digest says, and rows that refer to nothing; record references that are missing.",
)
@option("--json", "as_json", section=_HOW, is_flag=True, help="Print what was found as a JSON object.")
def check(*, data: Path, content: bool, repair: bool, as_json: bool) -> None:
    """Compare what a store says that it has with what is there. A server may be running on it."""

    async def work(store: Store) -> Checked:
        with click.progressbar(length=1, label="checking", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

            def on_progress(done: int, total: int) -> None:
                bar.length = max(total, 1)
                bar.update(done - bar.pos)

            return await check_store(store, content=content, repair=repair, on_progress=on_progress)

    checked = with_store(data, work, takes_away=repair)
    if as_json:
        findings = [{**dataclasses.asdict(one), "fault": one.kind not in HARMLESS} for one in checked.findings]
        click.echo(json.dumps({**dataclasses.asdict(checked), "findings": findings}))
    else:
        _show(checked, content=content, repair=repair)
    if checked.faults:
        sys.exit(REPAIRED if all(finding.repaired for finding in checked.faults) else LEFT)


def _show(checked: Checked, *, content: bool, repair: bool) -> None:
    rows = [
        (
            "note" if finding.kind in HARMLESS else "repaired" if finding.repaired else "FAULT",
            finding.kind,
            # Not columns of their own: a digest takes most of a line already.
            f"{finding.repository or ''} {finding.what}: {finding.message}".strip(),
        )
        for finding in checked.findings
    ]
    for line in rows_of(rows):
        click.echo(line)
    hashed = f", {format_size(checked.bytes_hashed)} hashed" if content else ""
    click.echo(f"{checked.copies} blobs, {checked.manifests} manifests, {checked.files} files{hashed}: {_sum(checked)}")
    faults = checked.faults
    if faults and not repair:
        click.echo("What to do: push again what is missing, or --repair first; see `ociserver check --help`.")
    elif any(finding.kind.startswith(("blob", "manifest")) for finding in faults):
        click.echo("What to do: push again what is missing; until then it answers 404.")


def _sum(checked: Checked) -> str:
    faults = len(checked.faults)
    repaired = sum(finding.repaired for finding in checked.faults)
    if not faults:
        return "nothing is wrong"
    return f"{faults} fault{'s' * (faults > 1)}" + (f", {repaired} of them repaired" if repaired else "")
