"""The server configurations that the conformance suite and the clients run against, one line for each."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import postgres
from tests.support.bucket import versity
from tests.support.cluster import cluster, over_bucket
from tests.support.server import Server, serve

__all__ = ["SETUPS", "SEVERAL_PROCESSES", "TWO_NODES", "Setup", "TwoNodes"]


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


class TwoNodes:
    """Two nodes over PostgreSQL and a bucket, and nginx, which gives each request to the other one."""

    name = "two-nodes"

    @contextmanager
    def start(self, folder: Path, *further: str, more: str = "") -> Iterator[Server]:
        """Serve until the block ends, with additional arguments. The process of the server is the first node.

        `more` are further tables of the configuration of both nodes.
        """
        database = postgres.create(f"nodes_{uuid.uuid4().hex}")
        with versity(folder) as bucket:
            text = over_bucket(database, bucket, more=more)
            with cluster(folder, lambda _: text, environment=bucket.environment(), arguments=further) as nodes:
                host, port = nodes.address.split(":")
                first, second = (node.server for node in nodes.nodes)
                yield Server(host, int(port), first.pid, first.log, (second,))
        shutil.rmtree(folder / "s3", ignore_errors=True)


TWO_NODES: Final = TwoNodes()

SEVERAL_PROCESSES: Final = (SETUPS[-1], TWO_NODES)
"""Those in which different processes answer the requests of a client: for tests that take too long for every setup."""
