"""PostgreSQL as the database of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from ociserver.store.postgres import PostgreSQL
from tests.support import postgres
from tests.support.postgres import Cluster


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def url() -> str:
    """A database with empty tables."""
    return postgres.emptied()


@pytest.fixture
async def database(url: str) -> AsyncIterator[PostgreSQL]:
    database = PostgreSQL(url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection past the store."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster that a test may stop and kill."""
    cluster = Cluster("fsync=off")  # only a crash of the machine needs it
    yield cluster
    cluster.close()
