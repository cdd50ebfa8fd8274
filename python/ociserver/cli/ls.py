"""`ociserver ls`, `ociserver tags`: list what a registry has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final

import click

from ociserver.cli import references
from ociserver.cli.parameters import Command, option
from ociserver.cli.registries import Registries, connection_options, json_option, telling, with_registries
from ociserver.cli.table import printable

__all__ = ["ls", "tags"]

_WHAT: Final = "What to show"

_limit = option(
    "--limit", section=_WHAT, type=click.IntRange(1), metavar="N", help="Maximum number of names. By default all."
)
_start_after = option(
    "--start-after",
    section=_WHAT,
    default="",
    show_default=False,
    metavar="NAME",
    help="List only names after this one.",
)


@click.command("ls", cls=Command, short_help="List the repositories of a registry.")
@click.argument("host")
@_limit
@_start_after
@json_option("an object")
@connection_options
def ls(
    *, host: str, limit: int | None, start_after: str, as_json: bool, insecure: bool, token_hosts: tuple[str, ...]
) -> None:
    """List the repositories of the registry at HOST: localhost:5000."""
    host = references.host_of(host)

    async def work(registries: Registries) -> list[str]:
        registry = await registries.at(host)
        with telling(host):
            return await _shown(registry.repositories(start_after=start_after, limit=limit), limit, as_json=as_json)

    found = with_registries(work, insecure=insecure, token_hosts=token_hosts)
    if as_json:
        click.echo(json.dumps({"registry": host, "repositories": found}))


@click.command(cls=Command, short_help="List the tags of a repository.")
@click.argument("repository")
@_limit
@_start_after
@json_option("an object")
@connection_options
def tags(
    *, repository: str, limit: int | None, start_after: str, as_json: bool, insecure: bool, token_hosts: tuple[str, ...]
) -> None:
    """List the tags of REPOSITORY: localhost:5000/group/project."""
    reference = references.repository(repository)

    async def work(registries: Registries) -> list[str]:
        registry = await registries.at(reference.host)
        with telling(reference):
            listed = registry.tags(reference.repository, start_after=start_after, limit=limit)
            return await _shown(listed, limit, as_json=as_json)

    found = with_registries(work, insecure=insecure, token_hosts=token_hosts)
    if as_json:
        click.echo(json.dumps({"repository": str(reference), "tags": found}))


async def _shown(names: AsyncIterator[str], limit: int | None, *, as_json: bool) -> list[str]:
    """Print names as they arrive, or keep them for JSON."""
    kept: list[str] = []
    count = 0
    async for name in names:
        if as_json:
            kept.append(name)
        else:
            click.echo(printable(name))
        count += 1
        # To the registry, the limit is only a hint.
        if count == limit:
            break
    return kept
