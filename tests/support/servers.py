"""The server configurations that the conformance suite and the clients run against, one line for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import Server, serve


@dataclass(frozen=True, slots=True)
class Setup:
    """A name, and arguments of `ociserver serve`. `{folder}` in them becomes a new folder."""

    name: str
    arguments: tuple[str, ...]

    @contextmanager
    def start(self, folder: Path, *further: str) -> Iterator[Server]:
        """Serve until the block ends, with additional arguments."""
        arguments = [argument.format(folder=folder) for argument in self.arguments]
        try:
            with serve([*arguments, *further], folder) as server:
                yield server
        finally:
            # Keep the log, which explains a failure, and delete the layers, which may have gigabytes.
            shutil.rmtree(folder / "data", ignore_errors=True)


SETUPS = (
    Setup("memory", ("--memory",)),
    Setup("store", ("--data", "{folder}/data")),
    Setup("store-2-workers", ("--data", "{folder}/data", "--workers", "2")),
)
