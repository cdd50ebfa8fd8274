"""Where the store of the load is, how it is served, and what is really stored."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.support import postgres
from tests.support.aging import age_files
from tests.support.bucket import Versity, versity
from tests.support.cluster import cluster, over_bucket
from tests.support.server import Server, serve

__all__ = ["InFolder", "OnTwoNodes", "Place"]

_TIMES: Final = {"links": "renewed", "copies": "idle_since", "manifests": "renewed", "uploads": "touched"}
"""The column of each table that says how old a row is."""


class Place(ABC):
    """A store."""

    arguments: tuple[str, ...]
    """Arguments of commands of `ociserver` that name the store."""

    @abstractmethod
    def serve(self, *options: str) -> AbstractContextManager[Server]:
        """Serve the store until the block ends."""

    @abstractmethod
    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements past the store. Returns the rows of the last one."""

    @abstractmethod
    def stored(self) -> list[int]:
        """The sizes of all contents that are not in the database, sorted."""

    def age(self, seconds: int) -> None:
        """Make all that is stored so much older."""
        self.run(*(f"UPDATE {table} SET {column} = {column} - {seconds}" for table, column in _TIMES.items()))  # noqa: S608


class InFolder(Place):
    """A folder, with one server of two processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self.arguments = ("--data", str(self._data))

    def serve(self, *options: str) -> AbstractContextManager[Server]:
        return serve([*self.arguments, "--workers", "2", *options], self._folder)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with closing(sqlite3.connect(self._data / "registry.db", timeout=30, isolation_level=None)) as database:
            for statement in statements:
                rows = database.execute(statement).fetchall()
        return rows

    def stored(self) -> list[int]:
        return sorted(path.stat().st_size for path in (self._data / "blobs").glob("*/*"))

    def age(self, seconds: int) -> None:
        super().age(seconds)
        age_files(self._data, seconds)


class OnTwoNodes(Place):
    """PostgreSQL and a bucket, with two nodes that get the requests in turn.

    Args:
        folder: for the files of the nodes and of the bucket.
        database: the URL of an empty database.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self._folder = folder
        self._database = database
        self._bucket: Versity | None = None
        self.arguments = ("--config", str(folder / "node-0" / "registry.toml"))

    @contextmanager
    def serve(self, *options: str) -> Iterator[Server]:
        with versity(self._folder) as bucket:
            self._bucket = bucket
            more = "\n".join(
                (
                    f'access-key-id = "{bucket.access_key}"',
                    f'secret-access-key = "{bucket.secret_key}"',
                    'url-lifetime = "1s"',
                    'delete-after = "2s"',
                )
            )
            text = over_bucket(self._database, bucket, prefix="churn", more=more)
            with cluster(self._folder, lambda _: text, arguments=options) as nodes:
                host, port = nodes.address.split(":")
                first = nodes.nodes[0].server
                yield Server(host, int(port), first.pid, first.log)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        return postgres.run_aside(self._run(statements))

    async def _run(self, statements: tuple[str, ...]) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self._database)
        try:
            rows: list[tuple[Any, ...]] = []
            for statement in statements:
                rows = [tuple(row) for row in await connection.fetch(statement)]
            return rows
        finally:
            await connection.close()

    def stored(self) -> list[int]:
        if self._bucket is None:
            raise RuntimeError("the bucket is not served")
        return sorted(size for key, size in self._bucket.objects().items() if key != "churn/ociserver")

    def age(self, seconds: int) -> None:
        super().age(seconds)
        self.run(f"UPDATE objects SET since = since - {seconds}")  # noqa: S608
