"""Commands that remove contents from the folder of a cache also correct the cache's index."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from ociserver import OCIError, Store
from ociserver.compose import Cache
from ociserver.compose.cache import accounts
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.queries import Content
from ociserver.store import writes
from ociserver.store.transaction import Transaction
from tests.compose.cache.disk import taken
from tests.compose.cache.upstream import REPOSITORY, Upstream, push, read, until
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

SIZE = 40_960


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data", lax_child_references=True)


async def run(store: Store, command: str, *arguments: str, status: int = 0) -> None:
    """Run a command of `ociserver` on the folder."""
    program = [sys.executable, "-m", "ociserver", command, "--data", str(store.path), *arguments]
    result = await anyio.run_process(program, check=False)
    assert result.returncode == status, result.stdout + result.stderr


@asynccontextmanager
async def index_of(store: Store) -> AsyncIterator[Index]:
    async with store:
        yield Index(store)


async def total(store: Store) -> int:
    async with index_of(store) as index:
        return await index.total()


def aged() -> Transaction[None]:
    """Make all links old enough for collection."""
    yield "UPDATE links SET renewed = 0", ()


async def test_collection(store: Store, upstream: Upstream) -> None:
    """While the cache serves, as the schedule does it."""
    referenced = random_bytes(SIZE, seed=1)
    await upstream.image(referenced)
    loose = await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed=2))
    async with Cache(upstream, store, max_bytes=10 * SIZE) as cache:
        manifest = await cache.get_tag(REPOSITORY, "latest")
        for digest in (digest_of(referenced), loose):
            await read(cache.get_blob(REPOSITORY, digest))
        assert await total(store) == 2 * SIZE + len(manifest.content)
        await store.database.write(aged)
        await run(store, "collect", "--unreferenced-after", "0s", "--dry-run")
        assert await total(store) == 2 * SIZE + len(manifest.content)
        await run(store, "collect", "--unreferenced-after", "0s")
        # Contents that no manifest references are deleted, also from the disk, whatever the grace is.
        assert await total(store) == SIZE + len(manifest.content)
        assert taken(store.path) == SIZE
        assert digest_of(await read(cache.get_blob(REPOSITORY, loose))) == loose
        assert upstream.asked[f"blob {loose}"] == 2


async def test_deletion_of_a_repository(store: Store, upstream: Upstream) -> None:
    layer = random_bytes(SIZE, seed=1)
    await upstream.image(layer)
    await upstream.image(layer, repository="library/other")
    async with Cache(upstream, store) as cache:
        await cache.push_manifest("mine", b"{}", "application/x", tags=["v1"])
        for name in (REPOSITORY, "library/other"):
            size = len((await cache.get_tag(name, "latest")).content)
            await read(cache.get_blob(name, digest_of(layer)))
        await run(store, "delete", REPOSITORY, "--yes")
        assert await total(store) == SIZE + size
        await run(store, "delete", "library/other", "--yes")
        assert await total(store) == 0
        assert taken(store.path) == 0
        # A repository that was pushed to has no owner any more.
        await upstream.image(layer, repository="mine")
        await run(store, "delete", "mine", "--yes")
        assert (await cache.get_manifest("mine", (await cache.get_tag("mine", "latest")).descriptor.digest)).content
        # A repository that was fetched is fetched again.
        assert await read(cache.get_blob(REPOSITORY, digest_of(layer))) == layer


async def test_deletion_of_a_manifest(store: Store, upstream: Upstream) -> None:
    digest = await upstream.image(b"layer")
    async with Cache(upstream, store) as cache:
        await cache.get_tag(REPOSITORY, "latest")
        await run(store, "delete", f"{REPOSITORY}@{digest}", "--yes")
        assert await total(store) == 0
        assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.digest == digest


async def test_repair(store: Store, upstream: Upstream) -> None:
    digest = await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed=1))
    async with Cache(upstream, store) as cache:
        await read(cache.get_blob(REPOSITORY, digest))
        [file] = [path for path in (store.path / "blobs").glob("*/*") if path.is_file()]
        file.write_bytes(bytes(SIZE))
        await run(store, "check", "--content", "--repair", status=3)
        assert await total(store) == 0
        assert taken(store.path) == 0
        assert digest_of(await read(cache.get_blob(REPOSITORY, digest))) == digest
        await run(store, "check", "--content")


async def test_contents_that_were_not_counted_are_counted_at_the_next_start(store: Store, upstream: Upstream) -> None:
    """This happens after a kill between the two steps, or after a power cut."""
    layer = random_bytes(SIZE, seed=1)
    await upstream.image(layer)
    async with Cache(upstream, store) as cache:
        size = len((await cache.get_tag(REPOSITORY, "latest")).content)
        await read(cache.get_blob(REPOSITORY, digest_of(layer)))
        await push(cache, "team/app", random_bytes(SIZE, seed=2))
    with sqlite3.connect(store.path / "registry.db") as connection:
        connection.execute("DELETE FROM cache_links")
        connection.execute("DELETE FROM cache_contents")
        connection.execute("UPDATE cache_total SET bytes = 0")
    connection.close()
    (store.path / "blobs" / "00" / "00unknown").write_bytes(bytes(SIZE))

    async def is_right() -> bool:
        return await total(store) == SIZE + size and taken(store.path) == 2 * SIZE

    async with Cache(upstream, store):
        await until(is_right)


async def test_a_repository_that_became_local_is_never_evicted(store: Store, upstream: Upstream) -> None:
    """Pushed contents may need contents that were fetched."""
    digest = await push(upstream.memory, "team/app", random_bytes(SIZE, seed=1))
    async with Cache(upstream, store) as cache:
        await read(cache.get_blob("team/app", digest))
    async with Cache(upstream, store, max_bytes=2 * SIZE, is_local=lambda name: name.startswith("team/")) as cache:

        async def is_free() -> bool:
            return await total(store) == 0

        await until(is_free)
        for seed in range(2, 6):
            await read(cache.get_blob(REPOSITORY, await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed))))
        assert digest_of(await read(store.get_blob("team/app", digest))) == digest


async def test_a_content_that_was_added_again_is_not_forgotten(store: Store) -> None:
    """The content is added between the read of the index and the read of the store, or between the other two reads."""
    content, digest = random_bytes(SIZE, seed=1), digest_of(random_bytes(SIZE, seed=1))
    async with store, index_of(store) as index:
        await index.add(Content("blob", digest), "a", SIZE)
        assert await index.total() == 0  # the store has lost it before
        await push(store, "a", content)
        await index.add(Content("blob", digest), "a", SIZE)
        [kept] = await index.kept(0, 10)
        await index.add(Content("blob", digest), "a", SIZE)
        await index.forget([kept])
        await index.leave(kept, ["a"])
        await accounts.settle(store, index)
        assert await index.total() == SIZE
        # A blob that some repository still links stays, even if another repository has lost it.
        await push(store, "b", content)
        await store.delete_blob("a", digest)
        await index.add(Content("blob", digest), "b", SIZE)
        await accounts.settle(store, index)
        assert [kept.repositories for kept in await index.kept(0, 10)] == [("b",)]
        assert await read(store.get_blob("b", digest)) == content
        await store.delete_blob("b", digest)
        await accounts.settle(store, index)
        assert (await index.total(), taken(store.path)) == (0, 0)


async def test_dropping_a_missing_blob(store: Store) -> None:
    digest = digest_of(b"x" * SIZE)
    async with store:
        await store.drop_blobs({digest: ["a", "b"]})
        await push(store, "a", b"x" * SIZE)
        await store.drop_blobs({digest: ["never"]})
        assert await read(store.get_blob("a", digest)) == b"x" * SIZE
        reader = await store.get_blob("a", digest)
        await store.drop_blobs({digest: ["a", "never"]})
        assert taken(store.path) == 0
        assert await read(asyncio.sleep(0, reader)) == b"x" * SIZE
        for asking in (store.get_blob("a", digest), store.resolve_blob("a", digest)):
            with pytest.raises(OCIError, match="blob unknown"):
                await asking
        assert await store.database.write(lambda: writes.drop_blobs({digest: ["a"]}, is_recorded=False, now=1)) == []


async def test_a_repository_without_its_last_blob_leaves_the_catalog(store: Store) -> None:
    async with store:
        for repository in ("a", "b"):
            await push(store, repository, b"x" * SIZE)
        await store.drop_blobs({digest_of(b"x" * SIZE): ["a"]})
        assert [name async for name in store.repositories()] == ["b"]
