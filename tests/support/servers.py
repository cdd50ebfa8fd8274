"""The servers that the conformance suite and the clients are run against: one line for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import Server, serve


@dataclass(frozen=True, slots=True)
class Setup:
    """A name, and arguments of `ociserver serve`; `{folder}` in them is a fresh folder."""

    name: str
    arguments: tuple[str, ...]

    @contextmanager
    def start(self, folder: Path) -> Iterator[Server]:
        try:
            with serve([argument.format(folder=folder) for argument in self.arguments], folder) as server:
                yield server
        finally:
            # The log stays for whoever looks at a failure; gigabytes of layers do not.
            shutil.rmtree(folder / "data", ignore_errors=True)


# Lax child references: the suite pushes sparse images and indexes, whose children were never pushed.
SETUPS = (
    Setup("memory", ("--memory", "--lax-child-references")),
    Setup("store", ("--data", "{folder}/data", "--lax-child-references")),
    Setup("store-2-workers", ("--data", "{folder}/data", "--workers", "2", "--lax-child-references")),
)
