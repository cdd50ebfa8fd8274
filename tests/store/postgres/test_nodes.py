"""Two nodes on one database: its tables, its clock, and leases."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from ociserver import OCIError, Store
from ociserver._core import digest_of
from ociserver.api_keys import ApiKey
from ociserver.store import StoreError, writes
from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from ociserver.store.postgres import PostgreSQL
from ociserver.store.schema import REGISTRY
from ociserver.store.transaction import LeaseHeldError
from tests.contract.contents import REPOSITORY, push_image, read_blob
from tests.support import postgres

pytestmark = pytest.mark.anyio

_names = itertools.count()


@pytest.fixture
def fresh() -> str:
    """A database without tables."""
    return postgres.create(f"n{next(_names)}")


async def opened(database: PostgreSQL) -> None:
    await database.open()
    await database.close()


async def test_nodes_that_start_at_once(fresh: str) -> None:
    await asyncio.gather(*(opened(PostgreSQL(fresh)) for _ in range(6)))
    await opened(PostgreSQL(fresh))


async def test_an_upgrade_beside_older_nodes(fresh: str) -> None:
    """They go on if the newer tables can be read by them, and are refused otherwise."""
    newer = replace(
        REGISTRY,
        migrations=(*REGISTRY.migrations, ("ALTER TABLE copies ADD COLUMN extra BIGINT",)),
        oldest_reader=REGISTRY.version,
    )
    newest = replace(
        newer,
        migrations=(*newer.migrations, ("ALTER TABLE copies DROP COLUMN extra",)),
        oldest_reader=0,
    )
    older = PostgreSQL(fresh)
    await older.open()
    await opened(PostgreSQL(fresh, newer))
    await older.write(partial(writes.start_upload, "r", "1", "sha256", 1))
    await older.close()
    await opened(older)
    await opened(PostgreSQL(fresh, newest))
    for schema in (REGISTRY, newer):
        with pytest.raises(StoreError, match="newer ociserver"):
            await opened(PostgreSQL(fresh, schema))


async def test_a_database_of_another_program(fresh: str) -> None:
    connection = await asyncpg.connect(fresh)
    await connection.execute("CREATE TABLE copies (title TEXT)")
    with pytest.raises(StoreError, match="give ociserver its own database"):
        await opened(PostgreSQL(fresh))
    await connection.close()


async def test_the_clock_is_that_of_the_database(
    database: PostgreSQL, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    there = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    assert abs(database.now() - there) < 1


async def test_a_lease_has_one_holder(url: str, database: PostgreSQL, connection: asyncpg.Connection) -> None:
    other = PostgreSQL(url)
    await other.open()
    async with database.lease("x"), database.lease("y"):
        with pytest.raises(LeaseHeldError):
            async with other.lease("x"):
                pass
    async with other.lease("x"):
        # As if its node had died half a minute ago.
        await connection.execute("UPDATE ociserver_leases SET until = until - 31")
        async with database.lease("x"):
            with pytest.raises(LeaseHeldError):
                async with other.lease("x"):
                    pass
        # The first holder has not ended that of the second.
    await other.close()


async def test_one_node_collects(url: str, tmp_path: Path) -> None:
    stores = [Store(tmp_path / "data", database=PostgreSQL(url)) for _ in range(2)]
    async with stores[0] as one, stores[1] as two:
        async with one.database.lease("collect"):
            with pytest.raises(StoreError, match="another collection is running"):
                await collect(two)
        await collect(two)


@pytest.fixture
async def nodes(url: str, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two nodes, each with its own connections. They share a folder, like two processes of one machine."""
    one, two = (Store(tmp_path / "data", database=PostgreSQL(url)) for _ in range(2))
    async with one, two:
        yield one, two


async def test_an_upload_that_changes_its_node(nodes: tuple[Store, Store]) -> None:
    one, two = nodes
    pieces = [os.urandom(100_000) for _ in range(3)]
    upload = await one.push_blob_chunked(REPOSITORY)
    await upload.write(pieces[0])
    await upload.aclose()
    for store, piece, offset in ((two, pieces[1], 100_000), (one, pieces[2], 200_000)):
        upload = await store.push_blob_chunked_resume(REPOSITORY, upload.id, offset=offset)
        await upload.write(piece)
        if offset == 100_000:
            await upload.aclose()
    digest = digest_of(b"".join(pieces))
    await upload.commit(digest)
    assert await read_blob(two, digest) == b"".join(pieces)


async def test_collection_and_check_beside_another_node(
    nodes: tuple[Store, Store], connection: asyncpg.Connection
) -> None:
    one, two = nodes
    kept, lost = os.urandom(50_000), os.urandom(50_000)
    await push_image(one, "kept", layers=[kept])
    await push_image(two, "lost", layers=[lost])
    await two.delete_tag(REPOSITORY, "lost")
    upload = await one.push_blob_chunked(REPOSITORY)
    await upload.aclose()
    for table, column in (("links", "renewed"), ("manifests", "renewed"), ("uploads", "touched")):
        await connection.execute(f"UPDATE {table} SET {column} = {column} - 1000000")  # noqa: S608
    policy = Policy(grace_s=0, delete_untagged_after_s=1000)
    report = await collect(one, policy)
    assert report.counts == {"untagged": 1, "abandoned": 1, "unreferenced": 1, "unlinked": 1}
    assert await read_blob(two, digest_of(kept)) == kept
    with pytest.raises(OCIError):
        await two.resolve_blob(REPOSITORY, digest_of(lost))
    checked = await check(two, content=True)
    assert (checked.findings, checked.manifests) == ([], 1)
    key = await connection.fetchval("SELECT key FROM copies WHERE key IS NOT NULL")
    one.blob_folder.path(key).write_bytes(b"x" * 50_000)
    await check(two, content=True, repair=True)
    with pytest.raises(OCIError):
        await one.get_blob(REPOSITORY, digest_of(kept))
    await push_image(one, "kept", layers=[kept])
    assert await read_blob(two, digest_of(kept)) == kept


async def test_api_keys_of_another_node(nodes: tuple[Store, Store]) -> None:
    one, two = nodes
    key = ApiKey("robot", "0" * 64, ("team/*",), ("pull",), None, None, 1)
    assert await one.api_keys.create(key, by="admin")
    assert not await two.api_keys.create(key)
    await two.api_keys.record_use({"robot": 60})
    found = await two.api_keys.find("robot")
    assert found == key
    assert found.used == 60
    assert await one.api_keys.find("robot") == key
    assert await two.api_keys.revoke("robot")
    assert await one.api_keys.find("robot") is None
    assert await one.api_keys.all() == []
    assert [event.event for event in await one.api_keys.take_events()] == ["key-created", "key-revoked"]
