"""PostgreSQL goes away, and comes back: nothing that was acknowledged is lost, and nobody restarts the registry."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from ociserver import OCIError, Store
from ociserver._core import digest_of
from ociserver.store import StoreError, writes
from ociserver.store.postgres import PostgreSQL
from tests.contract.contents import REPOSITORY, push_blob, read_blob
from tests.store.postgres.interleaving import BARRIER, stopping, until
from tests.store.postgres.races import NOW
from tests.support.postgres import Cluster

pytestmark = pytest.mark.anyio

LARGE: Final = 100_000
_names = itertools.count()


@pytest.fixture
async def store(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Store]:
    database = PostgreSQL(cluster.create(f"d{next(_names)}"))
    async with Store(tmp_path / "data", database=database) as store:
        yield store


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_restart_in_the_middle(cluster: Cluster, store: Store, how: str) -> None:
    acknowledged: list[bytes] = []
    refused: list[OCIError] = []
    ends = asyncio.Event()

    async def push(client: int) -> None:
        for number in itertools.count():
            content = f"{client} {number} ".encode() * (1 if number % 2 else LARGE // 8)
            try:
                await push_blob(store, content)
            except OCIError as error:
                refused.append(error)
                await asyncio.sleep(0.02)
            else:
                acknowledged.append(content)
            if ends.is_set():
                return

    clients = [asyncio.create_task(push(client)) for client in range(4)]
    await more_than(acknowledged, 20)
    await asyncio.to_thread(cluster.stop if how == "stop" else cluster.kill)
    try:
        await more_than(refused, 4)
        assert await said(store) is not None
        before = len(acknowledged)
    finally:
        await asyncio.to_thread(cluster.start)
    await more_than(acknowledged, before + 20)
    ends.set()
    await asyncio.gather(*clients)
    assert {(error.status, error.headers["Retry-After"]) for error in refused} == {(503, "10")}
    assert await said(store) is None
    for content in acknowledged:
        assert await read_blob(store, digest_of(content)) == content


async def more_than(found: list[Any], count: int) -> None:
    while len(found) <= count:  # noqa: ASYNC110  (several tasks append)
        await asyncio.sleep(0.01)


async def said(store: Store) -> str | None:
    return store.unavailable


async def test_an_upload_goes_on_after_a_restart(cluster: Cluster, store: Store) -> None:
    upload = await store.push_blob_chunked(REPOSITORY)
    await upload.write(b"a" * LARGE)
    await upload.aclose()
    await asyncio.to_thread(cluster.kill)
    await asyncio.to_thread(cluster.start)
    content = b"a" * LARGE + b"b"
    upload = await store.push_blob_chunked_resume(REPOSITORY, upload.id, offset=LARGE)
    await upload.write(b"b")
    await upload.commit(digest_of(content))
    await upload.aclose()
    assert await read_blob(store, digest_of(content)) == content


async def test_a_connection_that_breaks_before_the_commit(cluster: Cluster, store: Store) -> None:
    """The transaction runs again, on another connection."""
    url = cluster.create(f"d{next(_names)}")
    database = PostgreSQL(url)
    await database.open()
    observer = await asyncpg.connect(url)
    await observer.execute("SELECT pg_advisory_lock($1)", BARRIER)
    start = partial(writes.start_upload, "r", "1", "sha256", NOW)
    writing = asyncio.ensure_future(database.write(stopping(start, 2)))
    await until(observer, writing, waiting=1)
    await observer.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    await writing
    assert await observer.fetchval("SELECT count(*) FROM uploads") == 1
    await observer.close()
    await database.close()


async def test_a_statement_that_waits_for_too_long(cluster: Cluster) -> None:
    url = cluster.create(f"d{next(_names)}")
    database = PostgreSQL(url, statement_wait_s=0.2)
    await database.open()
    await database.write(partial(writes.start_upload, "r", "1", "sha256", NOW))
    observer = await asyncpg.connect(url)
    async with observer.transaction():
        await observer.execute("SELECT 1 FROM uploads FOR UPDATE")
        with pytest.raises(OCIError) as caught:
            await database.write(partial(writes.touch_upload, "1", NOW + 1))
        assert caught.value.status == 503
    await database.write(partial(writes.touch_upload, "1", NOW + 2))
    assert await observer.fetchval("SELECT touched FROM uploads") == NOW + 2
    await observer.close()
    await database.close()


async def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    database = PostgreSQL(f"postgresql://registry@/registry?host={tmp_path}")
    with pytest.raises(StoreError, match="the database cannot be used"):
        await database.open()


async def test_a_wrong_url_does_not_show_its_password() -> None:
    with pytest.raises(StoreError, match="not valid") as caught:
        await PostgreSQL("postgresql://registry:se/cret@host:5432/registry").open()
    assert "cret" not in str(caught.value)
