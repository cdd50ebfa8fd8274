"""`ociserver check`: checks that a store is complete and correct."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ociserver.cli.data import place_of, store_options, with_store
from ociserver.cli.parameters import Command, option
from ociserver.cli.table import counted, rows_of
from ociserver.cli.terminal import Style, paint, progress
from ociserver.store import Store
from ociserver.store.check import HARMLESS, Checked, Finding
from ociserver.store.check import check as check_store
from ociserver.units import format_size

__all__ = ["LEFT", "REPAIRED", "check"]

REPAIRED: Final = 3
LEFT: Final = 4
"""Exit statuses: faults were found and all were repaired, or some are left."""

LOST: Final = frozenset({"blob missing", "blob size", "blob digest", "manifest digest"})
"""Findings about contents that only another push can restore."""

MAX_TAGS: Final = 5
"""Maximum number of tags on a line. The JSON has all of them."""

MAX_DANGLING: Final = 10
"""Maximum number of missing contents that are shown for one manifest. The JSON has all of them."""

_STYLES: Final[dict[str, Style]] = {"note": "faint", "marked": "doubtful", "repaired": "good", "FAULT": "bad"}
"""How the states of findings are shown."""

_HOW: Final = "How to go about it"

_EPILOG: Final = """\
Exit status: 0 nothing is wrong; 3 faults were found, and all repaired; 4 faults are left; 1 the store could not be
checked; 2 the command line is wrong. Bytes that nothing links, and references that a lax registry accepted, are shown,
but are not faults.
"""


@click.command(
    cls=Command,
    short_help="Check a store, and repair it.",
    epilog=_EPILOG,
)
@store_options
@option("--content", section=_HOW, is_flag=True, help="Read every blob and compare its digest, not only its size.")
@option(
    "--repair",
    section=_HOW,
    is_flag=True,
    help="Mark blobs that are missing or wrong, so that they answer 404 and the next push restores them; delete "
    "manifests that do not match their digest, and rows that refer to nothing; record the types and references of "
    "manifests as they are in their bytes.",
)
@option("--json", "as_json", section=_HOW, is_flag=True, help="Print the findings as a JSON object.")
def check(*, data: Path, config: Path | None, table: str | None, content: bool, repair: bool, as_json: bool) -> None:
    """Compare the records of a store with the contents that it has. A server may be running on it."""

    async def work(store: Store) -> Checked:
        with progress("checking") as advance:

            def on_progress(done: int, total: int) -> None:
                advance(done, total, "")

            return await check_store(store, content=content, repair=repair, on_progress=on_progress)

    place = place_of(data, config, table)
    checked = with_store(place, work, takes_away=repair)
    if as_json:
        findings = [{**dataclasses.asdict(one), "fault": one.kind not in HARMLESS} for one in checked.findings]
        click.echo(json.dumps({**dataclasses.asdict(checked), "findings": findings}))
    else:
        repairing = place.command("check", *(["--content"] if content else []), "--repair")
        _show(checked, repairing, content=content, repair=repair)
    if checked.faults:
        sys.exit(REPAIRED if all(finding.repaired for finding in checked.faults) else LEFT)


def _show(checked: Checked, repairing: str, *, content: bool, repair: bool) -> None:
    rows = list(_rows(checked.findings))
    for (state, *_), line in zip(rows, rows_of(rows), strict=True):
        click.echo(paint(state, _STYLES[state]) + line.removeprefix(state))
    hashed = f", {format_size(checked.bytes_hashed)} hashed" if content else ""
    counts = (
        f"{counted(checked.copies, 'blob')}, {counted(checked.manifests, 'manifest')}, {counted(checked.files, 'file')}"
    )
    click.echo(f"{counts}{hashed}: {_sum(checked)}")
    for line in _advice(checked, repairing, repair=repair):
        click.echo(line)


def _rows(findings: list[Finding]) -> Iterator[tuple[str, str, str]]:
    """State, kind and text of each finding. Of a manifest's missing contents, only the first ones and their number."""
    dangling = Counter(_place(finding) for finding in findings if finding.kind == "dangling")
    shown: Counter[tuple[str | None, str]] = Counter()
    for finding in findings:
        place = _place(finding)
        if finding.kind == "dangling":
            shown[place] += 1
            more = dangling[place] - MAX_DANGLING
            if shown[place] == MAX_DANGLING + 1:
                yield _state(finding), finding.kind, f"{_where(finding)}: and {more:,} more"
            if shown[place] > MAX_DANGLING:
                continue
        # Place and message share a column: a digest takes most of a line.
        yield _state(finding), finding.kind, f"{_where(finding)}: {finding.message}{_affected(finding)}"


def _place(finding: Finding) -> tuple[str | None, str]:
    return finding.repository, finding.what


def _where(finding: Finding) -> str:
    return f"{finding.repository or ''} {finding.what}".strip()


def _state(finding: Finding) -> str:
    if finding.kind in HARMLESS:
        return "note"
    if finding.marked:
        return "marked"
    return "repaired" if finding.repaired else "FAULT"


def _affected(finding: Finding) -> str:
    """What else is broken by a finding, in short."""
    parts = []
    if finding.tags:
        more = len(finding.tags) - MAX_TAGS
        parts.append(f"tags {', '.join(finding.tags[:MAX_TAGS])}" + (f" and {more} more" if more > 0 else ""))
    if finding.manifests:
        parts.append(counted(len(finding.manifests), "manifest"))
    return f"; this breaks {' and '.join(reversed(parts))}" if parts else ""


def _sum(checked: Checked) -> str:
    faults = checked.faults
    repaired = sum(finding.repaired for finding in faults)
    dangling = sum(finding.kind == "dangling" for finding in checked.findings)
    if not faults and not dangling:
        return "nothing is wrong"
    parts = (
        [counted(len(faults), "fault") + (f" ({repaired} repaired)" if repaired else "")] if faults else ["no faults"]
    )
    if dangling:
        parts.append(f"{counted(dangling, 'reference')} to missing contents")
    return ", ".join(parts)


def _advice(checked: Checked, repairing: str, *, repair: bool) -> Iterator[str]:
    """What was done, and what the user has to do. `repairing` is the command that repairs."""
    lost = [one for one in checked.faults if one.kind in LOST]
    others = [one for one in checked.faults if one.kind not in LOST and not one.repaired]
    waiting = [one for one in lost if not one.repaired and not one.marked]
    new = [one for one in checked.faults if one.repaired and not one.marked]
    if new:
        # A content that several repositories have counts once.
        marked = len({one.what for one in new if one.kind in LOST and one.kind != "manifest digest"})
        deleted = sum(one.kind == "manifest digest" for one in new)
        records = sum(one.kind not in LOST for one in new)
        done = [
            f"{counted(marked, 'blob')} marked as missing" if marked else "",
            f"{counted(deleted, 'manifest')} deleted" if deleted else "",
            f"{counted(records, 'record')} repaired" if records else "",
        ]
        yield f"Done: {', '.join(part for part in done if part)}."
    if lost:
        images = sorted({f"{one.repository}:{tag}" for one in lost for tag in one.tags})
        more = len(images) - MAX_TAGS
        names = ", ".join(images[:MAX_TAGS]) + (f" and {more} more" if more > 0 else "")
        what = f"push again: {names}" if images else "push again what is listed above"
        if waiting:
            yield f"What to do: run `{repairing}`, and then {what}."
        else:
            yield f"What to do: {what}. Until then the missing contents answer 404."
    elif others and not repair:
        yield f"What to do: run `{repairing}`."
    elif others:
        yield "What to do: restore a backup of registry.db; see docs/faults.md."
