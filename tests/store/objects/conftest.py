"""Stores whose contents are in a bucket of versitygw, over SQLite and over PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ociserver.store import Store
from ociserver.store.objects import ObjectStorage
from ociserver.store.postgres import PostgreSQL
from tests.store.objects.looking import PART, PREFIX
from tests.support import postgres
from tests.support.bucket import Versity, versity

MakeStore = Callable[..., Store]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def shared_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versity]:
    with versity(tmp_path_factory.mktemp("bucket")) as store:
        yield store


@pytest.fixture
def bucket(shared_bucket: Versity) -> Versity:
    """An empty bucket, without multipart uploads."""
    for key in shared_bucket.objects():
        shared_bucket.path(key).unlink()
    shutil.rmtree(shared_bucket.path(".sgwtmp"), ignore_errors=True)
    return shared_bucket


@pytest.fixture(params=["sqlite", "postgresql"])
def make_store(request: pytest.FixtureRequest, bucket: Versity, tmp_path: Path) -> MakeStore:
    """Makes stores over one database and one bucket, each like that of a node of its own."""
    url = postgres.emptied() if request.param == "postgresql" else None

    def make(*, port: int | None = None, **settings: Any) -> Store:
        storage = ObjectStorage(
            **{
                "url": f"{bucket.url}/{PREFIX}",
                "options": bucket.options(port),
                "part_size": PART,
                "retry_s": 2,
                **settings,
            }
        )
        if url is None:
            return Store(tmp_path / "data", objects=storage)
        return Store(database=PostgreSQL(url), objects=storage)

    return make


@pytest.fixture
async def store(make_store: MakeStore) -> AsyncIterator[Store]:
    async with make_store() as store:
        yield store


@pytest.fixture
async def open_store(make_store: MakeStore) -> AsyncIterator[Callable[..., Any]]:
    """Opens further stores over the same database and bucket, until the end of the test."""
    async with AsyncExitStack() as stack:

        async def open_one(**settings: Any) -> Store:
            return await stack.enter_async_context(make_store(**settings))

        yield open_one
