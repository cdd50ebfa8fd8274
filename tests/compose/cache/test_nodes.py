"""A cache whose contents are in a bucket: several nodes over PostgreSQL, or the processes of one machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anyio.to_thread
import asyncpg
import pytest

from ociserver import Handler, OCIError, Store
from ociserver.compose import Cache
from ociserver.compose.cache.accounts import settle_store
from ociserver.compose.cache.index import Index
from ociserver.errors import UnreachableError
from ociserver.store import StoreError
from ociserver.store.collect import collect
from ociserver.store.objects import ObjectStorage
from ociserver.store.postgres import PostgreSQL
from tests.compose.cache.test_served import doomed
from tests.compose.cache.upstream import MIB, REPOSITORY, Upstream, push, read, until
from tests.contract.buckets import fresh_bucket
from tests.serving.uvicorn_here import serve_here
from tests.support import postgres
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

SIZE = 100_000
LAYER = random_bytes(SIZE, seed=1)
BOUND = 3 * SIZE + 10_000

Join = Callable[..., Any]
"""Adds a node. Keywords are further arguments of its cache."""


@pytest.fixture
def objects() -> ObjectStorage:
    return fresh_bucket()


@pytest.fixture(params=["nodes", "processes"])
async def join(
    request: pytest.FixtureRequest, upstream: Upstream, objects: ObjectStorage, tmp_path: Path
) -> AsyncIterator[Join]:
    """Nodes over PostgreSQL, or processes over one folder with SQLite. Each has its own store and its own cache."""
    url = postgres.emptied() if request.param == "nodes" else None
    async with AsyncExitStack() as stack:

        async def join(**settings: Any) -> tuple[Cache, Store]:
            if url is None:
                store = Store(tmp_path / "data", objects=objects, lax_child_references=True)
            else:
                store = Store(database=PostgreSQL(url), objects=objects, lax_child_references=True)
                settings.setdefault("downloads", tmp_path / f"node{len(made)}")
            made.append(store)
            return await stack.enter_async_context(Cache(upstream, store, **settings)), store

        made: list[Store] = []
        yield join


@pytest.fixture
def on_nodes(request: pytest.FixtureRequest) -> bool:
    return bool(request.node.callspec.params["join"] == "nodes")


async def kept(store: Store) -> int:
    """Bytes in the bucket that a copy names."""

    def sizes() -> Any:
        return (yield "SELECT COALESCE(SUM(size), 0) FROM copies WHERE key IS NOT NULL", ())

    return int((await store.database.read(sizes()))[0][0])


async def uploads(store: Store) -> int:
    def count() -> Any:
        return (yield "SELECT COUNT(*) FROM uploads", ())

    return int((await store.database.read(count()))[0][0])


async def test_what_one_has_fetched_the_other_has(join: Join, upstream: Upstream) -> None:
    await upstream.image(LAYER)
    (one, _), (two, store) = await join(), await join()
    for cache in (one, two):
        assert (await cache.get_tag(REPOSITORY, "latest")).content
        assert await read(cache.get_blob(REPOSITORY, digest_of(LAYER))) == LAYER
        with pytest.raises(OCIError, match="belongs to upstream"):
            await push(cache, REPOSITORY, b"x")
    assert dict(upstream.asked) == {"tag": 1, f"blob {digest_of(LAYER)}": 1}
    # What was pushed to one is never asked of upstream by the other.
    await one.push_manifest("team/app", b"{}", "application/x", tags=["v1"])
    with pytest.raises(OCIError):
        await two.get_tag("team/app", "v2")
    assert upstream.asked["tag"] == 1
    # A command that removes contents corrects the index.
    await store.delete_blob(REPOSITORY, digest_of(LAYER))
    await settle_store(store)
    assert await Index(store).total() < SIZE


async def test_both_ask_for_one_blob(join: Join, upstream: Upstream, *, on_nodes: bool) -> None:
    content = random_bytes(6 * MIB, seed=2)  # a part, and the rest
    digest = await push(upstream.memory, REPOSITORY, content)
    upstream.gate.clear()
    (one, store), (two, _) = await join(), await join()
    clients = [asyncio.ensure_future(read(cache.get_blob(REPOSITORY, digest))) for cache in (one, two) for _ in "ab"]
    # Processes of one node read the same file. Nodes fetch for themselves.
    await until(lambda: upstream.asked[f"blob {digest}"] == (2 if on_nodes else 1))
    part = await one.get_blob(REPOSITORY, digest)
    assert (await anext(aiter(part)))[:SIZE] == content[:SIZE]
    await part.aclose()
    upstream.gate.set()
    assert {digest_of(got) for got in await asyncio.gather(*clients)} == {digest}
    assert upstream.asked[f"blob {digest}"] == (2 if on_nodes else 1)
    assert (await Index(store).total(), await kept(store), await uploads(store)) == (len(content),) * 2 + (0,)


async def test_a_tag_moves(join: Join, upstream: Upstream) -> None:
    await upstream.image(LAYER)
    (one, _), (two, _) = await join(tag_lifetime=0, retry_after=0), await join()
    assert (await two.get_tag(REPOSITORY, "latest")).descriptor == (await one.get_tag(REPOSITORY, "latest")).descriptor
    digest = await upstream.image(LAYER, b"more")
    asked = upstream.asked.copy()
    assert (await one.resolve_tag(REPOSITORY, "latest")).digest == digest
    # The other one has it without asking.
    upstream.failure = UnreachableError(502, "down")
    assert (await two.resolve_tag(REPOSITORY, "latest")).digest == digest
    assert upstream.asked["head tag"] == asked["head tag"] + 1
    # And both have it while upstream is down, whoever has fetched it.
    assert (await one.get_tag(REPOSITORY, "latest")).descriptor.digest == digest
    with pytest.raises(UnreachableError):
        await one.get_tag(REPOSITORY, "unknown")
    upstream.failure = None
    await upstream.memory.delete_tag(REPOSITORY, "latest")
    for cache in (one, two):
        with pytest.raises(OCIError, match="unknown"):
            await cache.get_tag(REPOSITORY, "latest")


async def test_the_bound_is_that_of_all_nodes(join: Join, upstream: Upstream) -> None:
    settings = {"max_bytes": BOUND, "use_after": 0}
    (one, store), (two, other) = await join(**settings), await join(**settings)
    digests = [await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed)) for seed in range(8)]
    for _ in range(2):
        await asyncio.gather(
            *(read(cache.get_blob(REPOSITORY, digest)) for digest in digests for cache in (one, two)),
        )
        # Exactly what the index counts is there.
        assert await Index(store).total() == await kept(store) <= BOUND
    # What is used on one node stays, whoever evicts.
    for digest in (*digests[:3], digests[0], digests[3]):
        await read(two.get_blob(REPOSITORY, digest))
    reader = await two.get_blob(REPOSITORY, digests[2])
    await read(one.get_blob(REPOSITORY, digests[4]))
    assert [await has(other, digest) for digest in digests[:5]] == [True, False, False, True, True]
    assert digest_of(await read(asyncio.sleep(0, reader))) == digests[2]


async def has(store: Store, digest: str) -> bool:
    try:
        await store.resolve_blob(REPOSITORY, digest)
    except OCIError:
        return False
    return True


async def test_the_bucket_holds_no_more_than_was_not_collected(
    upstream: Upstream, objects: ObjectStorage, tmp_path: Path
) -> None:
    url = postgres.emptied()
    store = Store(database=PostgreSQL(url), objects=objects, lax_child_references=True)
    async with Cache(upstream, store, max_bytes=SIZE) as cache:
        for seed in range(3):
            await read(cache.get_blob(REPOSITORY, await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed))))
        connection = await asyncpg.connect(url)
        await connection.execute("UPDATE objects SET since = 0")
        await connection.close()
        report = await collect(store)
        assert report.counts["recorded"] == 2
        assert await Index(store).total() == SIZE


async def test_a_folder_that_is_not_ours(upstream: Upstream, objects: ObjectStorage, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    store = Store(database=PostgreSQL(postgres.emptied()), objects=objects, lax_child_references=True)
    with pytest.raises(StoreError, match="nobody else can write"):
        async with Cache(upstream, store, downloads=folder):
            pass
    folder.chmod(0o700)
    digest = await push(upstream.memory, REPOSITORY, LAYER)
    async with Cache(upstream, store, downloads=folder) as cache:
        shutil.rmtree(folder)  # as a program that cleans up a temporary folder does
        assert await read(cache.get_blob(REPOSITORY, digest)) == LAYER


async def test_a_node_is_killed_while_its_workers_fetch(
    upstream: Upstream, objects: ObjectStorage, tmp_path: Path
) -> None:
    content = random_bytes(8 * MIB, seed=3)
    digest = await push(upstream.memory, REPOSITORY, content)
    upstream.gate.clear()
    url, key, downloads = postgres.emptied(), f"blob {digest}", tmp_path / "downloads"
    file = tmp_path / "registry.toml"
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(serve_here(Handler(upstream)))
        stack.callback(upstream.gate.set)
        file.write_text(configuration(there.url, url, objects))
        connections = stack.enter_context(ExitStack())
        with doomed(file) as (process, server):
            for _ in range(8):
                connection = connections.enter_context(closing(HTTPConnection(server.host, server.port, timeout=60)))
                await anyio.to_thread.run_sync(begin, connection, digest)
            # All workers serve what one has requested.
            assert upstream.asked[key] == 1
            await until(lambda: [path.stat().st_size >= 3 * MIB for path in downloads.glob("*/*.part")] == [True])
            os.killpg(process.pid, signal.SIGKILL)
        other = Store(database=PostgreSQL(url), objects=objects, lax_child_references=True)
        async with Cache(upstream, other) as cache:
            reading = asyncio.ensure_future(read(cache.get_blob(REPOSITORY, digest)))
            await until(lambda: upstream.asked[key] == 2)
            upstream.gate.set()
            assert await reading == content
        # The node starts again, and deletes what it was fetching.
        [folder] = downloads.iterdir()
        async with Cache(upstream, other, downloads=folder) as cache:
            assert await read(cache.get_blob(REPOSITORY, digest)) == content
            await until(lambda: not any(folder.iterdir()))
            assert await uploads(other) == 0
    assert upstream.asked[key] == 2


def begin(connection: HTTPConnection, digest: str) -> None:
    connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
    assert len(connection.getresponse().read(MIB)) == MIB


def configuration(upstream: str, database: str, objects: ObjectStorage) -> str:
    options = objects.options
    return f"""\
[server]
workers = 2

[registry]
kind = "cache"
downloads = "downloads"
upstream = {{ kind = "client", url = "{upstream}" }}

[registry.local]
kind = "store"
database = "{database}"

[registry.local.objects]
url = "{objects.url}"
endpoint = "{options["aws_endpoint"]}"
region = "{options["aws_region"]}"
access-key-id = "{options["aws_access_key_id"]}"
secret-access-key = "{options["aws_secret_access_key"]}"
"""
