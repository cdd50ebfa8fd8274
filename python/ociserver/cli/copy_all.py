"""`ociserver copy --all`: every repository of a registry."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ociserver.cli import references
from ociserver.cli.configured import read
from ociserver.cli.data import check_folder_of_store, default_folder
from ociserver.cli.errors import CommandError
from ociserver.cli.registries import Registries, with_registries, words
from ociserver.cli.table import counted, printable
from ociserver.copy.copier import Settings
from ociserver.copy.ends import CopyError, End
from ociserver.copy.progress import Progress
from ociserver.copy.registry import CopiedRepository, copy_registry
from ociserver.errors import OCIError
from ociserver.interface import Backend
from ociserver.reference import Reference
from ociserver.store import StoreError

if TYPE_CHECKING:
    from ociserver.config.holders import Memory, Store

__all__ = ["copy_all"]

_FILE: Final = ".toml"
"""How the name of a configuration file ends. No host has such a name."""

Words = Callable[[CopyError, Reference, Reference], str]


def copy_all(
    source: str,
    destination: str,
    settings: Settings,
    progress: Progress,
    *,
    bar: AbstractContextManager[None],
    words_of: Words,
    summary: Callable[[], str],
    as_json: bool,
    insecure: bool,
    token_hosts: tuple[str, ...],
) -> None:
    """Copy a registry, tell what was copied, and end the program with status 1 if something was not.

    Args:
        source: a host, or a configuration file.
        destination: another one.
        settings: how to copy.
        progress: counts all copies.
        bar: shows the progress.
        words_of: the message for the error of a repository.
        summary: a line about all copies.
        as_json: print a report for programs.
        insecure: see `Registries`.
        token_hosts: see `Registries`.
    """
    ends: dict[End, str] = {"source": _named(source), "destination": _named(destination)}
    if ends["source"] == ends["destination"]:
        raise click.UsageError("SRC and DST are the same registry.")

    async def work(registries: Registries) -> list[CopiedRepository]:
        found = []
        async with AsyncExitStack() as stack:
            origin = await _opened(ends["source"], registries, stack, is_source=True)
            target = await _opened(ends["destination"], registries, stack, is_source=False)
            with bar:
                async for copied in copy_registry(origin, target, settings, progress):
                    found.append(copied)
                    if not as_json:
                        click.echo(f"{printable(copied.name)}  {counted(copied.tags, 'tag')}")
        return found

    try:
        results = with_registries(work, insecure=insecure, token_hosts=token_hosts)
    except CopyError as error:
        raise CommandError(f"{words(ends[error.end], error.error)} Run the same command to continue.") from error
    except OCIError as error:
        raise CommandError(error.message) from error
    except StoreError as error:
        raise CommandError(str(error)) from error
    failed = {each.name: _failures(each, ends, words_of) for each in results}
    if as_json:
        counts = dataclasses.asdict(progress)
        del counts["on_change"]
        told = [
            {"repository": each.name, "tags": each.tags, "errors": failed[each.name]}
            for each in sorted(results, key=lambda each: each.name)
        ]
        click.echo(json.dumps({"source": source, "destination": destination, "repositories": told, **counts}))
    else:
        repositories = "repository" if len(results) == 1 else "repositories"
        tags = counted(sum(each.tags for each in results), "tag")
        click.echo(f"{len(results)} {repositories}, {tags}; {summary()}")
    for text in (text for texts in failed.values() for text in texts):
        click.echo(f"ociserver: {printable(text)}", err=True)
    if any(failed.values()):
        sys.exit(1)


def _named(text: str) -> str:
    """A host, or the name of a configuration file."""
    return text if text.endswith(_FILE) else references.host_of(text)


async def _opened(end: str, registries: Registries, stack: AsyncExitStack, *, is_source: bool) -> Backend:
    if not end.endswith(_FILE):
        return await registries.at(end)
    file = Path(end)

    def leaf(table: Store | Memory) -> Backend:
        if table.kind == "store" and (table.external is None or table.external.database is None):
            table = dataclasses.replace(table, data=table.data or default_folder())
            if is_source and table.data is not None:
                # A store that is opened is created, and would be copied as an empty one.
                check_folder_of_store(table.data)
        return table.build()

    try:
        backend = read(file).backend(leaf)
    except ValueError as error:
        raise CommandError(f"{file}: {error}") from None
    await stack.enter_async_context(backend)
    return backend


def _failures(copied: CopiedRepository, ends: dict[End, str], words_of: Words) -> list[str]:
    """A sentence for everything of a repository that could not be copied."""
    given, wanted = (
        Reference("" if end.endswith(_FILE) else end, copied.name) for end in (ends["source"], ends["destination"])
    )
    errors: list[tuple[str, Any]] = [(f"{copied.name}:{each.tag}", each.error) for each in copied.failed]
    if copied.error is not None:
        errors.append((copied.name, copied.error))
    return [f"{what}: {words_of(error, given, wanted)}" for what, error in errors]
