"""What clients get while PostgreSQL does not answer, or answers late: 503, and soon."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from ociserver import Handler, Store
from ociserver._core import digest_of
from ociserver.store import postgres_connections
from ociserver.store.postgres import PostgreSQL
from tests.contract.contents import IMAGE, image
from tests.handler.driver import Reply, request
from tests.support.postgres import Cluster

pytestmark = pytest.mark.anyio

WAIT_S: Final = 0.4
"""Seconds instead of each limit."""

MARGIN_S: Final = 3.0
"""Seconds that a loaded machine may take in addition."""

BLOB: Final = b"{}"
MANIFEST: Final = "/v2/r/manifests/v1"
_names = itertools.count()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACQUIRE_WAIT_S", "UNDO_WAIT_S", "CLOSE_WAIT_S", "PROBE_WAIT_S", "PROBE_S"):
        monkeypatch.setattr(postgres_connections, name, WAIT_S)


@pytest.fixture
def place(cluster: Cluster) -> str:
    """The URL of a database without tables."""
    return cluster.create(f"o{next(_names)}")


@pytest.fixture
async def store(place: str, tmp_path: Path) -> AsyncIterator[Store]:
    database = PostgreSQL(place, max_connections=4, statement_wait_s=WAIT_S)
    async with Store(tmp_path / "data", database=database) as store:
        yield store


@pytest.fixture
async def registry(store: Store) -> AsyncIterator[Handler]:
    async with Handler(store) as handler:
        assert (await push(handler, BLOB)).status == 201
        assert (await put(handler, "v1")).status == 201
        yield handler


@pytest.fixture
async def beside(place: str, store: Store) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of the store, past the store."""
    connection = await asyncpg.connect(place)
    yield connection
    await connection.close()


async def push(handler: Handler, content: bytes) -> Reply:
    return await request(handler, "POST", f"/v2/r/blobs/uploads/?digest={digest_of(content)}", content)


async def put(handler: Handler, tag: str) -> Reply:
    content = image(BLOB, annotations={"tag": tag})
    return await request(handler, "PUT", f"/v2/r/manifests/{tag}", content, {"content-type": IMAGE})


async def one_of_each(handler: Handler) -> list[Reply]:
    new = os.urandom(20)
    reads = [request(handler, "GET", path) for path in (MANIFEST, "/v2/r/tags/list")]
    return await asyncio.gather(*reads, push(handler, new), put(handler, new.hex()))


def check_refused(*replies: Reply) -> None:
    """503, and when to come back."""
    assert [(reply.status, reply.all("Retry-After")) for reply in replies] == [(503, ["10"])] * len(replies)


async def until(store: Store, *, is_reachable: bool) -> None:
    deadline = time.monotonic() + 10 * WAIT_S + MARGIN_S
    while (store.unavailable is None) != is_reachable:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_server_that_hangs(cluster: Cluster, store: Store, registry: Handler) -> None:
    """Requests that meet it wait for a limited time, later ones are refused at once, and it heals."""
    acknowledged: list[bytes] = []
    statuses: set[int] = set()
    ends = asyncio.Event()

    async def client() -> None:
        while not ends.is_set():
            content = os.urandom(20)
            reply = await push(registry, content)
            statuses.add(reply.status)
            if reply.status == 201:
                acknowledged.append(content)
            await asyncio.sleep(0.01)

    clients = [asyncio.create_task(client()) for _ in range(8)]
    await asyncio.sleep(0.2)
    with cluster.frozen():
        began = time.monotonic()
        check_refused(*await one_of_each(registry))
        assert time.monotonic() - began < 4 * WAIT_S + MARGIN_S
        await until(store, is_reachable=False)
        waited = []
        for _ in range(10):
            began = time.monotonic()
            check_refused(*await one_of_each(registry))
            waited.append(time.monotonic() - began)
        assert sorted(waited)[5] < WAIT_S
    await until(store, is_reachable=True)
    ends.set()
    await asyncio.gather(*clients)
    assert {reply.status for reply in await one_of_each(registry)} == {200, 201}
    assert statuses == {201, 503}
    for content in acknowledged:
        assert (await request(registry, "GET", f"/v2/r/blobs/{digest_of(content)}")).body == content


async def test_a_statement_that_waits_refuses_nobody_else(
    store: Store, registry: Handler, beside: asyncpg.Connection
) -> None:
    async with beside.transaction():
        await beside.execute("SELECT 1 FROM manifests FOR UPDATE")
        waiting = asyncio.ensure_future(put(registry, "v1"))
        while not waiting.done():
            assert (await request(registry, "GET", MANIFEST)).status == 200
        check_refused(waiting.result())
        for _ in range(10):
            assert (await request(registry, "GET", MANIFEST)).status == 200
            assert store.unavailable is None
            await asyncio.sleep(WAIT_S / 10)
    assert (await put(registry, "v1")).status == 201


async def test_no_connection_is_free(place: str, tmp_path: Path) -> None:
    """That is no reason to refuse those that come later."""
    store = Store(tmp_path / "data", database=PostgreSQL(place, max_connections=2))
    async with Handler(store) as registry:
        await push(registry, BLOB)
        await put(registry, "v1")
        beside = await asyncpg.connect(place)
        transaction = beside.transaction()
        await transaction.start()
        await beside.execute("SELECT 1 FROM manifests FOR UPDATE")
        waiting = [asyncio.ensure_future(put(registry, "v1")) for _ in range(2)]
        while await beside.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        check_refused(*await asyncio.gather(*(request(registry, "GET", MANIFEST) for _ in range(4))))
        await asyncio.sleep(3 * WAIT_S)
        assert store.unavailable is None
        await transaction.rollback()
        await beside.close()
        assert [reply.status for reply in await asyncio.gather(*waiting)] == [201, 201]
        assert (await request(registry, "GET", MANIFEST)).status == 200


async def test_a_store_is_closed_while_its_database_hangs(cluster: Cluster, place: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "data", database=PostgreSQL(place))
    await store.__aenter__()
    with cluster.frozen():
        reading = asyncio.ensure_future(store.get_tag("r", "v1"))
        await asyncio.wait([reading], timeout=0.1)
        began = time.monotonic()
        await store.__aexit__(None, None, None)
        assert time.monotonic() - began < 2 * WAIT_S + MARGIN_S
        await asyncio.wait([reading])
    assert reading.exception() is not None
