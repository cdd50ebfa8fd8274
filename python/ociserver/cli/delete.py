"""`ociserver delete`: deletes a tag or a manifest in a registry or a store, or a whole repository of a store."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from ociserver._core import is_repository
from ociserver.cli.data import Place, place_of, store_options, with_store
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import Command, option
from ociserver.cli.references import image, quoted
from ociserver.cli.registries import Registries, connection_options, json_option, missing, telling, with_registries
from ociserver.cli.table import counted, printable, rows_of
from ociserver.errors import OCIError, marshal_error
from ociserver.interface import Backend, Descriptor
from ociserver.reference import Reference
from ociserver.store import Store, StoreError
from ociserver.store.inventory import Inventory, inventory
from ociserver.units import format_size

__all__ = ["delete"]

_HOW: Final = "How to go about it"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """How to delete: flags of the command."""

    dry_run: bool
    yes: bool
    as_json: bool


@click.command(cls=Command, short_help="Delete a tag, a manifest or a repository.")
@click.argument("reference")
@store_options
@option("--dry-run", section=_HOW, is_flag=True, help="Only print what would be deleted, and what would fail.")
@option("--yes", "-y", section=_HOW, is_flag=True, help="Delete without asking.")
@json_option("a report")
@connection_options
@click.pass_context
def delete(
    context: click.Context,
    *,
    reference: str,
    data: Path,
    config: Path | None,
    table: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    insecure: bool,
    token_hosts: tuple[str, ...],
) -> None:
    """Delete what REFERENCE names: at a registry, or, if it names none, in the store of a folder.

    \b
    ociserver delete HOST/REPOSITORY:TAG             a tag at a registry; the manifest stays
    ociserver delete HOST/REPOSITORY@sha256:...      a manifest at a registry, and all its tags
    ociserver delete REPOSITORY --data DIR           a whole repository of a store, with its blobs and uploads
    ociserver delete REPOSITORY:TAG --data DIR       a tag of a store, or by its digest a manifest
    ociserver delete REPOSITORY --config FILE        the store of a configuration file

    A server may be running on the store. The next collection frees the contents that nothing needs any more.
    """
    settings = Settings(dry_run, yes, as_json)
    try:
        named = Reference.parse_relative(reference)
    except ValueError:
        raise click.UsageError(f"{quoted(reference)} is not the name of a repository.") from None
    names_store = any(context.get_parameter_source(each) is ParameterSource.COMMANDLINE for each in ("data", "config"))
    if named.host and names_store:
        # The repositories of a cache of several registries have names such as docker.io/library/alpine.
        named = Reference("", f"{named.host}/{named.repository}", named.tag, named.digest)
        if not is_repository(named.repository):
            raise click.UsageError(
                f"{quoted(reference)} is at a registry, and --data or --config names a store; use only one."
            )
    if named.host:
        _delete_elsewhere(image(reference), settings, insecure=insecure, token_hosts=token_hosts)
        return
    place = place_of(data, config, table)
    if named.tag or named.digest:
        _delete_content(
            named,
            settings,
            look=lambda: with_store(place, lambda store: _told(_look(store, named), named)),
            remove=lambda: with_store(place, lambda store: _told(_remove(store, named), named), takes_away=True),
        )
    else:
        _delete_repository(named.repository, place, settings)


def _delete_elsewhere(named: Reference, settings: Settings, *, insecure: bool, token_hosts: tuple[str, ...]) -> None:
    if not (named.tag or named.digest):
        raise click.UsageError(
            "the protocol cannot delete a whole repository. Add a tag or digest, or set --data or --config to a store."
        )

    async def work(registries: Registries, *, really: bool) -> Descriptor:
        registry = await registries.at(named.host)
        with telling(named):
            return await (_remove(registry, named) if really else _look(registry, named))

    _delete_content(
        named,
        settings,
        look=lambda: with_registries(
            lambda registries: work(registries, really=False), insecure=insecure, token_hosts=token_hosts
        ),
        remove=lambda: with_registries(
            lambda registries: work(registries, really=True), insecure=insecure, token_hosts=token_hosts
        ),
    )


def _delete_content(
    named: Reference, settings: Settings, look: Callable[[], Descriptor], remove: Callable[[], Descriptor]
) -> None:
    """Show a tag or a manifest, and delete it."""
    found = look()
    if not settings.as_json:
        what = "manifest, with all its tags" if named.digest else f"tag of {found.digest}, which stays"
        click.echo(f"{named}  {what}  ({printable(found.media_type)}, {format_size(found.size)})")
    if not settings.dry_run:
        _confirm(f"Delete {named}?", settings)
        remove()
    report = {
        "reference": str(named),
        "tag": None if named.digest else named.tag,
        "digest": found.digest,
        "mediaType": found.media_type,
        "size": found.size,
    }
    _tell(str(named), report, settings)


def _delete_repository(repository: str, place: Place, settings: Settings) -> None:
    async def look(store: Store) -> Inventory:
        try:
            return await store.database.read(inventory(repository))
        except OCIError as error:
            if error.code != "NAME_UNKNOWN":
                raise
            raise StoreError(
                f"{place} has no repository {repository}; GET /v2/_catalog lists the repositories"
            ) from None

    held = with_store(place, look)
    if not settings.as_json:
        own = f", {held.own_blobs} of them ({format_size(held.own_bytes)}) in no other repository"
        rows = [
            counted(held.tags, "tag"),
            counted(held.manifests, "manifest"),
            counted(held.blobs, "blob") + own,
            f"{counted(held.uploads, 'upload')} in progress, which would fail",
        ]
        for line in rows_of([row.split(" ", 1) for row in rows]):
            click.echo(line)
    if not settings.dry_run:
        _confirm(f"Delete {repository} and all of this?", settings)
        with_store(place, lambda store: store.delete_repository(repository), takes_away=True)
    _tell(repository, {"repository": repository, **dataclasses.asdict(held)}, settings)


def _tell(what: str, report: dict[str, Any], settings: Settings) -> None:
    if settings.as_json:
        click.echo(json.dumps({**report, "deleted": not settings.dry_run}))
    elif not settings.dry_run:
        click.echo(f"deleted {what}")


def _confirm(question: str, settings: Settings) -> None:
    """Ask on stderr, unless --yes was given.

    Raises:
        CommandError: stdin ended without an answer, or is closed.
        click.Abort: the answer is no.
    """
    if settings.yes:
        return
    try:
        agreed = sys.stdin is not None and click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        # End the line of the unanswered question.
        click.echo(err=True)
        agreed = None
    if agreed is None or sys.stdin is None:
        raise CommandError("nothing was deleted, because nobody answered. Pass --yes to delete without a question.")
    if not agreed:
        raise click.Abort


async def _told(work: Awaitable[Descriptor], named: Reference) -> Descriptor:
    """The answer of a store. The error for a missing content names it."""
    try:
        return await work
    except OCIError as error:
        text = missing(named, error)
        if text is None:
            raise
        raise CommandError(f"{text}.") from None


async def _look(backend: Backend, named: Reference) -> Descriptor:
    if named.digest:
        return await backend.resolve_manifest(named.repository, named.digest)
    return await backend.resolve_tag(named.repository, named.tag)


async def _remove(backend: Backend, named: Reference) -> Descriptor:
    found = await _look(backend, named)
    if named.digest:
        await backend.delete_manifest(named.repository, named.digest)
        return found
    try:
        await backend.delete_tag(named.repository, named.tag)
    except OCIError as error:
        # Spec: a registry may refuse to delete tags. Older ones parse the tag as a digest, and refuse it as invalid.
        if marshal_error(error).status in (400, 405):
            whole = f"{named.host}/{named.repository}@{found.digest}".lstrip("/")
            raise OCIError(
                error.code,
                f"the registry does not delete tags. `ociserver delete {whole}` deletes the manifest and all its tags",
                status=error.status,
            ) from None
        raise
    return found
