"""`ociserver delete`: at a registry a tag or a manifest; in a store a whole repository too."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from ociserver._core import is_repository
from ociserver.cli.data import data_option, with_store
from ociserver.cli.errors import CannotServeError
from ociserver.cli.parameters import Command, option
from ociserver.cli.references import image
from ociserver.cli.registries import Registries, insecure_option, telling, with_registries
from ociserver.cli.table import printable, rows_of
from ociserver.cli.units import format_size
from ociserver.errors import OCIError, marshal_error
from ociserver.interface import Backend, Descriptor
from ociserver.reference import Reference
from ociserver.store import Store, StoreError
from ociserver.store.inventory import Inventory, inventory

__all__ = ["delete"]

_HOW: Final = "How to go about it"


@click.command(cls=Command, short_help="Delete a tag, a manifest or a repository.")
@click.argument("reference")
@data_option
@option("--dry-run", section=_HOW, is_flag=True, help="Only say what would go, and what would break.")
@option("--yes", "-y", section=_HOW, is_flag=True, help="Do not ask.")
@insecure_option
@click.pass_context
def delete(context: click.Context, *, reference: str, data: Path, dry_run: bool, yes: bool, insecure: bool) -> None:
    """Delete what REFERENCE names: at a registry, or, if it names none, in the store of a folder.

    \b
    ociserver delete HOST/REPOSITORY:TAG             a tag at a registry; what it names stays
    ociserver delete HOST/REPOSITORY@sha256:...      a manifest at a registry, and all its tags
    ociserver delete REPOSITORY --data DIR           a whole repository of a store, with its blobs and uploads
    ociserver delete REPOSITORY:TAG --data DIR       of a store a tag, or by its digest a manifest

    A server may be running on the store. Contents that nothing needs any more are freed by the next collection.
    """
    try:
        named = Reference.parse_relative(reference)
    except ValueError:
        raise click.UsageError(f"{reference!r} is not the name of a repository.") from None
    if named.host and context.get_parameter_source("data") is ParameterSource.COMMANDLINE:
        # A cache of several registries has repositories such as docker.io/library/alpine.
        named = Reference("", f"{named.host}/{named.repository}", named.tag, named.digest)
        if not is_repository(named.repository):
            raise click.UsageError(f"{reference!r} is at a registry, and --data a folder; leave one of both away.")
    if not named.host:
        _delete_here(named, data, dry_run=dry_run, yes=yes)
        return
    named = image(reference)
    if not (named.tag or named.digest):
        raise click.UsageError(
            "the protocol deletes no whole repository: name a tag or a digest, or by --data the folder of a store."
        )

    async def work(registries: Registries, *, really: bool) -> Descriptor:
        registry = await registries.at(named.host)
        with telling(named):
            return await (_remove(registry, named) if really else _look(registry, named))

    found = with_registries(lambda registries: work(registries, really=False), insecure=insecure)
    if _confirmed(named, found, dry_run=dry_run, yes=yes):
        with_registries(lambda registries: work(registries, really=True), insecure=insecure)
        click.echo(f"deleted {named}")


def _delete_here(named: Reference, data: Path, *, dry_run: bool, yes: bool) -> None:
    try:
        if named.tag or named.digest:
            found = with_store(data, lambda store: _look(store, named))
            if _confirmed(named, found, dry_run=dry_run, yes=yes):
                with_store(data, lambda store: _remove(store, named), takes_away=True)
                click.echo(f"deleted {named}")
            return
        _delete_repository(named.repository, data, dry_run=dry_run, yes=yes)
    except OCIError as error:
        raise CannotServeError(f"{named}: {error.message}") from error


def _delete_repository(repository: str, data: Path, *, dry_run: bool, yes: bool) -> None:
    async def look(store: Store) -> Inventory:
        try:
            return await store.database.read(inventory(repository))
        except OCIError as error:
            if error.code != "NAME_UNKNOWN":
                raise
            raise StoreError(
                f"{data} has no repository {repository}; GET /v2/_catalog lists those that there are"
            ) from None

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
    with_store(data, lambda store: store.delete_repository(repository), takes_away=True)
    click.echo(f"deleted {repository}")


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
        # Spec: a registry may refuse to delete tags; older ones take the tag for a digest that is none.
        if marshal_error(error).status in (400, 405):
            whole = f"{named.host}/{named.repository}@{found.digest}".lstrip("/")
            raise OCIError(
                error.code,
                f"the registry deletes no tags. `ociserver delete {whole}` deletes the manifest, with all its tags",
                status=error.status,
            ) from None
        raise
    return found


def _confirmed(named: Reference, found: Descriptor, *, dry_run: bool, yes: bool) -> bool:
    what = "manifest, with every tag that it has" if named.digest else f"tag of {found.digest}, which stays"
    click.echo(f"{named}  {what}  ({printable(found.media_type)}, {format_size(found.size)})")
    if dry_run:
        return False
    if not yes:
        click.confirm(f"Delete {named}?", abort=True)
    return True
