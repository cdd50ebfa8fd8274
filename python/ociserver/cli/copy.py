"""`ociserver copy`: images from one registry to another, or within one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from ociserver.cli.copy_all import copy_all
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import Command, option
from ociserver.cli.references import image
from ociserver.cli.registries import (
    Registries,
    connection_options,
    json_option,
    missing,
    platform_option,
    with_registries,
    words,
)
from ociserver.cli.table import printable, rows_of
from ociserver.cli.terminal import progress as progress_bar
from ociserver.copy.copier import Copied, Copy, Settings
from ociserver.copy.ends import CopyError, Ends, MissingPartError
from ociserver.copy.platforms import PlatformError
from ociserver.copy.progress import Progress
from ociserver.errors import OCIError
from ociserver.reference import Reference
from ociserver.units import format_size

if TYPE_CHECKING:
    from ociserver.copy import Platform

__all__ = ["copy"]

_WHAT: Final = "What to copy"
_HOW: Final = "How to go about it"

_EPILOG: Final = """\
Credentials are those of `docker login`. Exit status: 0 everything is at the destination; 1 something could not be
copied; 2 the command line is wrong.
"""


@click.command("copy", cls=Command, short_help="Copy images to another registry.", epilog=_EPILOG)
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@option(
    "--all",
    "whole",
    section=_WHAT,
    is_flag=True,
    help="Copy a whole registry: every repository, with all tags and what refers to the images. SRC and DST are hosts, "
    "or configuration files (FILE.toml).",
)
@option("--all-tags", section=_WHAT, is_flag=True, help="Copy every tag of a repository, under the same name.")
@platform_option(_WHAT)
@option(
    "--referrers", section=_WHAT, is_flag=True, help="Also copy what refers to the images: signatures, attestations."
)
@option(
    "--recheck",
    section=_HOW,
    is_flag=True,
    help="Check that each blob is at the destination. Without this flag, a manifest that exists there is assumed to "
    "be complete.",
)
@option(
    "--jobs",
    section=_HOW,
    type=click.IntRange(1, 64),
    default=4,
    metavar="N",
    help="Contents to copy at the same time.",
)
@json_option("a report")
@connection_options
def copy(
    *,
    source: str,
    destination: str,
    whole: bool,
    all_tags: bool,
    platform: Platform | None,
    referrers: bool,
    recheck: bool,
    jobs: int,
    as_json: bool,
    insecure: bool,
    token_hosts: tuple[str, ...],
) -> None:
    """Copy SRC to DST, byte for byte, with all that it needs.

    \b
    ociserver copy docker.io/library/alpine:3 localhost:5000/alpine         the tag of SRC, if DST has none
    ociserver copy HOST/project@sha256:... OTHER/project:v1                 a digest gets a tag
    ociserver copy --all-tags HOST/project OTHER/project                    a whole repository
    ociserver copy --all HOST OTHER                                         a whole registry
    ociserver copy --all old.toml new.toml                                  that of a configuration file

    An index is copied with all its platforms. What DST has already is not sent, and within one registry blobs are
    mounted instead of sent. A copy that was interrupted continues when it is started again.
    """
    progress = Progress()
    if whole:
        if all_tags or platform is not None:
            raise click.UsageError("--all copies everything. Remove --all-tags and --platform.")
        copy_all(
            source,
            destination,
            Settings(referrers=True, recheck=recheck, jobs=jobs),
            progress,
            bar=_bar(progress),
            words_of=_words,
            summary=lambda: _summary(progress),
            as_json=as_json,
            insecure=insecure,
            token_hosts=token_hosts,
        )
        return
    given, wanted = _named(source, destination, all_tags=all_tags)
    settings = Settings(
        platform=platform, referrers=referrers, recheck=recheck, mount=given.host == wanted.host, jobs=jobs
    )

    async def work(registries: Registries) -> list[Copied]:
        ends = Ends(
            await registries.at(given.host), given.repository, await registries.at(wanted.host), wanted.repository
        )
        with _bar(progress):
            async with Copy(ends, settings, progress) as copying:
                if all_tags:
                    return sorted([copied async for copied in copying.all_tags()], key=lambda copied: copied.tag)
                tag = wanted.tag or given.tag
                if given.digest:
                    return [Copied(tag, await copying.digest(given.digest, *filter(None, [tag])))]
                return [Copied(tag, await copying.tag(given.tag, tag))]

    try:
        results = with_registries(work, insecure=insecure, token_hosts=token_hosts)
    except (CopyError, PlatformError) as error:
        raise CommandError(_words(error, given, wanted)) from error
    failed = [(each.tag, _words(each.error, given, wanted)) for each in results if each.error is not None]
    if as_json:
        click.echo(json.dumps(_report(given, wanted, results, dict(failed), progress)))
    else:
        rows = [(printable(each.tag) or "-", each.descriptor.digest) for each in results if each.descriptor is not None]
        for line in (*rows_of(rows), _summary(progress)):
            click.echo(line)
    for tag, text in failed:
        click.echo(f"ociserver: {printable(tag)}: {text}", err=True)
    if failed:
        sys.exit(1)


def _named(source: str, destination: str, *, all_tags: bool) -> tuple[Reference, Reference]:
    given, wanted = image(source), image(destination)
    if wanted.digest:
        raise click.UsageError(
            "DST has a digest, but the digest is always that of SRC. Remove it, or replace it by a tag."
        )
    if all_tags and (given.tag or given.digest or wanted.tag):
        raise click.UsageError("--all-tags copies repositories. Remove tags and digests from SRC and DST.")
    if not all_tags and not given.digest:
        given = dataclasses.replace(given, tag=given.tag or "latest")
    return given, wanted


@contextmanager
def _bar(progress: Progress) -> Iterator[None]:
    """A progress bar of the known bytes. Their number grows while manifests are read."""
    with progress_bar("copying") as advance:

        def show() -> None:
            done, total = progress.bytes_done, progress.bytes_total
            advance(done, total, f"{format_size(done)} of {format_size(total)}")

        progress.on_change = show
        try:
            yield
        finally:
            progress.on_change = lambda: None


def _summary(progress: Progress) -> str:
    blobs = [(progress.blobs_copied, "copied"), (progress.blobs_mounted, "mounted"), (progress.blobs_existing, "there")]
    manifests = [(progress.manifests_copied, "copied"), (progress.manifests_existing, "there")]
    counted = "; ".join(
        f"{name}: {', '.join(f'{count} {how}' for count, how in counts if count) or 'none'}"
        for name, counts in (("manifests", manifests), ("blobs", blobs))
    )
    return f"{counted}; {format_size(progress.bytes_sent)} sent"


def _words(error: CopyError | PlatformError, given: Reference, wanted: Reference) -> str:
    if isinstance(error, PlatformError):
        return f"{given}: {error}"
    if isinstance(error, MissingPartError):
        where = dataclasses.replace(given, tag="", digest="")
        return f"{where} has no {error.what}, which manifest {error.parent} needs"
    reference = given if error.end == "source" else wanted
    # The missing content may be one that the requested image needs.
    kind, _, name = error.what.partition(" ")
    of_what = {"tag": {"tag": name, "digest": ""}, "manifest": {"tag": "", "digest": name}}.get(kind)
    asked = dataclasses.replace(reference, **of_what) if of_what else None
    if asked and missing(asked, error.error):
        return words(asked, error.error)
    code = error.error.code if isinstance(error.error, OCIError) else ""
    if kind == "blob" and code in ("BLOB_UNKNOWN", "MANIFEST_UNKNOWN"):
        where = dataclasses.replace(reference, tag="", digest="")
        return f"{where} has no {error.what}"
    return f"{error.what}: {words(reference, error.error)}"


def _report(
    given: Reference, wanted: Reference, results: list[Copied], failed: dict[str, str], progress: Progress
) -> dict[str, Any]:
    counts = dataclasses.asdict(progress)
    del counts["on_change"]
    return {
        "source": str(given),
        "destination": str(wanted),
        "images": [
            {
                "tag": each.tag or None,
                "digest": each.descriptor.digest if each.descriptor else None,
                "mediaType": each.descriptor.media_type if each.descriptor else None,
                "size": each.descriptor.size if each.descriptor else None,
                "error": failed.get(each.tag) if each.error is not None else None,
            }
            for each in results
        ],
        **counts,
    }
