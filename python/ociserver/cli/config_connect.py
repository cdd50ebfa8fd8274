"""`ociserver config check --connect`: tries the databases and buckets of a configuration file."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ociserver.cli.errors import CommandError

if TYPE_CHECKING:
    from ociserver.config import Config
    from ociserver.config.problems import Problem
    from ociserver.store.external import External
    from ociserver.store.trial import Found

__all__ = ["Tried", "tried_connections"]


@dataclass(slots=True)
class Tried:
    """What the databases and buckets of a file are like.

    Args:
        faults: why some of them cannot be used.
        warnings: what is probably a mistake.
        facts: a sentence about each that can be used.
    """

    faults: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)


def tried_connections(config: Config, file: Path) -> Tried:
    """Try each database and each bucket of a configuration without mistakes.

    Raises:
        CommandError: packages for them are not installed.
    """
    from ociserver.config.lines import line_of  # late, as in `configured.read`
    from ociserver.config.problems import Problem, dotted

    text = file.read_text(encoding="utf-8")
    tried = Tried()
    for leaf, table in zip(config.leaves(), config.places(), strict=True):
        if leaf.kind != "store" or leaf.external is None:
            continue
        for found in asyncio.run(_try(leaf.external, config.server.workers or 1)):
            at = (*table, found.at)
            if found.kind == "fact":
                tried.facts.append(f"{dotted(at)}: {found.text}")
                continue
            problem = Problem(file, line_of(text, at), dotted(at), found.text)
            (tried.faults if found.kind == "fault" else tried.warnings).append(problem)
    return tried


async def _try(external: External, processes: int) -> list[Found]:
    from ociserver.store.trial import try_external  # late: not every command needs it

    try:
        return [found async for found in try_external(external, processes)]
    except ValueError as error:
        raise CommandError(str(error)) from None
