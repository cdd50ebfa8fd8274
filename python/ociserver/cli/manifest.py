"""`ociserver manifest`, `ociserver referrers`: one manifest, and what refers to it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import Command, option
from ociserver.cli.references import image
from ociserver.cli.registries import (
    Registries,
    connection_options,
    json_option,
    platform_option,
    telling,
    with_registries,
)
from ociserver.cli.table import printable, rows_of
from ociserver.interface import Backend, Descriptor, Manifest
from ociserver.reference import Reference
from ociserver.units import format_size

if TYPE_CHECKING:
    from ociserver.copy import Platform

__all__ = ["manifest", "manifest_of", "referrers"]

_WHAT: Final = "What to show"
_CREATED: Final = "org.opencontainers.image.created"


async def manifest_of(registry: Backend, reference: Reference, platform: Platform | None) -> Manifest:
    """The manifest of a reference: by its digest, else by its tag, else by `latest`.

    Raises:
        CommandError: the image does not exist for the platform.
        RegistryError: from the registry.
    """
    from ociserver.copy import PlatformError, choose

    if reference.digest:
        found = await registry.get_manifest(reference.repository, reference.digest)
    else:
        found = await registry.get_tag(reference.repository, reference.tag or "latest")
    if platform is None:
        return found
    try:
        return await choose(registry, reference.repository, found, platform)
    except PlatformError as error:
        raise CommandError(f"{reference}: {error}") from None


@click.command(cls=Command, short_help="Print a manifest.")
@click.argument("reference")
@platform_option(_WHAT)
@json_option("its descriptor")
@connection_options
def manifest(
    *, reference: str, platform: Platform | None, as_json: bool, insecure: bool, token_hosts: tuple[str, ...]
) -> None:
    """Print the manifest of REFERENCE, such as localhost:5000/group/project:latest, exactly as the registry has it.

    Its digest is checked first.
    """
    named = image(reference)

    async def work(registries: Registries) -> Manifest:
        registry = await registries.at(named.host)
        with telling(named):
            return await manifest_of(registry, named, platform)

    found = with_registries(work, insecure=insecure, token_hosts=token_hosts)
    if as_json:
        click.echo(json.dumps(_described(found.descriptor)))
    elif sys.stdout.isatty():
        # Its author must not control the terminal, and the prompt belongs on a line of its own.
        lines = found.content.decode(errors="replace").replace("\t", "    ").splitlines()
        click.echo(
            "\n".join("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines)
        )
    else:
        click.echo(found.content, nl=False)


@click.command(cls=Command, short_help="List what refers to a manifest.")
@click.argument("reference")
@option(
    "--artifact-type", section=_WHAT, metavar="TYPE", help="Only those of this type, such as application/spdx+json."
)
@platform_option(_WHAT)
@json_option("an object")
@connection_options
def referrers(
    *,
    reference: str,
    artifact_type: str | None,
    platform: Platform | None,
    as_json: bool,
    insecure: bool,
    token_hosts: tuple[str, ...],
) -> None:
    """List what refers to the manifest of REFERENCE: signatures, attestations, SBOMs.

    If the registry has no referrers API, the referrers tag of the manifest is read instead.
    """
    named = image(reference)

    async def work(registries: Registries) -> tuple[str, list[Descriptor]]:
        registry = await registries.at(named.host)
        with telling(named):
            digest = named.digest
            if not digest or platform is not None:
                digest = (await manifest_of(registry, named, platform)).descriptor.digest
            listed = registry.referrers(named.repository, digest, artifact_type)
            return digest, [entry async for entry in listed]

    digest, found = with_registries(work, insecure=insecure, token_hosts=token_hosts)
    if as_json:
        click.echo(json.dumps({"subject": digest, "referrers": [_described(entry) for entry in found]}))
        return
    rows = [
        (
            entry.digest,
            printable(entry.artifact_type or entry.media_type),
            format_size(entry.size),
            printable(entry.annotations.get(_CREATED, "")),
        )
        for entry in found
    ]
    for line in rows_of(rows):
        click.echo(line)


def _described(entry: Descriptor) -> dict[str, Any]:
    """A descriptor as in an index."""
    described: dict[str, Any] = {"mediaType": entry.media_type, "digest": entry.digest, "size": entry.size}
    if entry.artifact_type:
        described["artifactType"] = entry.artifact_type
    if entry.annotations:
        described["annotations"] = dict(entry.annotations)
    return described
