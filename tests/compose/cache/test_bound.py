"""The bound applies to the disk: evicted bytes are free at once, and blobs that do not fit are passed on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ociserver import Backend, OCIError, Store
from ociserver.compose import Cache
from tests.compose.cache.disk import taken
from tests.compose.cache.upstream import MIB, REPOSITORY, Upstream, push, read, until
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

BLOCK = 4096
SIZE = 100_000
BOUND = 3 * SIZE + 10_000
LARGE = random_bytes(2 * MIB, seed=77)
LARGE_DIGEST = digest_of(LARGE)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data", lax_child_references=True)


async def read_anew(cache: Cache, upstream: Upstream, digest: str) -> bytes:
    """Read a blob until upstream is asked again: the download that was passed on last ends a moment later."""
    asked = upstream.asked[f"blob {digest}"]
    while True:
        content = await read(cache.get_blob(REPOSITORY, digest))
        if upstream.asked[f"blob {digest}"] > asked:
            return content
        await asyncio.sleep(0.01)


async def has(local: Backend, repository: str, digest: str) -> bool:
    try:
        await local.resolve_blob(repository, digest)
    except OCIError:
        return False
    return True


async def test_evicted_bytes_are_free_at_once(store: Store, upstream: Upstream) -> None:
    async with Cache(upstream, store, max_bytes=BOUND) as cache:
        for seed in range(12):
            digest = await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed))
            assert digest_of(await read(cache.get_blob(REPOSITORY, digest))) == digest
            # The lock file is deleted, too, in a thread.
            assert taken(store.path) <= BOUND + BLOCK
        assert taken(store.path) > BOUND - 2 * SIZE


async def test_a_reader_of_an_evicted_blob_continues(local: Backend, upstream: Upstream) -> None:
    digests = [await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed)) for seed in range(5)]
    async with Cache(upstream, local, max_bytes=BOUND) as cache:
        await read(cache.get_blob(REPOSITORY, digests[0]))
        reader = await cache.get_blob(REPOSITORY, digests[0])
        for digest in digests[1:]:
            await read(cache.get_blob(REPOSITORY, digest))
        assert not await has(local, REPOSITORY, digests[0])
        assert digest_of(await read(asyncio.sleep(0, reader))) == digests[0]


async def test_a_content_of_several_repositories_counts_once(local: Backend, upstream: Upstream) -> None:
    names = [f"library/{number}" for number in range(8)]
    shared = random_bytes(SIZE, seed=1)
    others = [await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed)) for seed in (2, 3)]
    async with Cache(upstream, local, max_bytes=BOUND) as cache:
        for digest in others:
            await read(cache.get_blob(REPOSITORY, digest))
        for name in names:
            digest = await push(upstream.memory, name, shared)
            await read(cache.get_blob(name, digest))
        assert [await has(local, REPOSITORY, digest) for digest in others] == [True, True]
        # It is evicted from all repositories at once.
        for seed in (4, 5, 6):
            await read(cache.get_blob(REPOSITORY, await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed))))
        assert [await has(local, name, digest) for name in names] == [False] * len(names)


async def test_a_blob_that_was_also_pushed_stays_where_it_was_pushed(store: Store, upstream: Upstream) -> None:
    content = random_bytes(SIZE, seed=1)
    digest = await push(upstream.memory, REPOSITORY, content)
    async with Cache(upstream, store, max_bytes=BOUND) as cache:
        await read(cache.get_blob(REPOSITORY, digest))
        await push(cache, "team/app", content)
        for seed in range(2, 8):
            await read(cache.get_blob(REPOSITORY, await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed))))
        assert not await has(store, REPOSITORY, digest)
        assert await read(store.get_blob("team/app", digest)) == content


@pytest.mark.parametrize("size", [SIZE, 5_000_000])
async def test_bytes_that_a_client_deletes_are_free_at_once(store: Store, upstream: Upstream, size: int) -> None:
    digest = await push(upstream.memory, REPOSITORY, random_bytes(size, seed=1))
    async with Cache(upstream, store) as cache:
        await read(cache.get_blob(REPOSITORY, digest))
        assert taken(store.path) >= size
        await cache.delete_blob(REPOSITORY, digest)
        assert taken(store.path) <= BLOCK
        assert digest_of(await read(cache.get_blob(REPOSITORY, digest))) == digest


async def test_a_blob_that_is_evicted_before_it_is_opened_is_fetched_again(
    store: Store, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blob may be evicted after the store has read its row and before it opens its file."""
    digest = await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed=1))
    async with Cache(upstream, store) as cache:
        await read(cache.get_blob(REPOSITORY, digest))
        find = store._find_blob

        async def find_and_lose(repository: str, digest: str) -> object:
            link = await find(repository, digest)
            monkeypatch.undo()
            await store.drop_blobs({digest: [REPOSITORY]})
            return link

        monkeypatch.setattr(store, "_find_blob", find_and_lose)
        assert digest_of(await read(cache.get_blob(REPOSITORY, digest))) == digest
    assert upstream.asked[f"blob {digest}"] == 2


async def test_a_blob_that_does_not_fit_is_fetched_once_for_all(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, LARGE)
    upstream.gate.clear()
    async with Cache(upstream, local, max_bytes=MIB) as cache, asyncio.timeout(20):
        readers = [asyncio.ensure_future(read(cache.get_blob(REPOSITORY, LARGE_DIGEST))) for _ in range(16)]
        await asyncio.sleep(0.05)
        readers += [asyncio.ensure_future(read(cache.get_blob(REPOSITORY, LARGE_DIGEST))) for _ in range(16)]
        upstream.gate.set()
        assert set(map(digest_of, await asyncio.gather(*readers))) == {LARGE_DIGEST}
        assert upstream.asked[f"blob {LARGE_DIGEST}"] == 1
        assert not await has(local, REPOSITORY, LARGE_DIGEST)
        # Nothing of the blob is left. The next request asks upstream again.
        if isinstance(local, Store):
            await until(lambda: taken(local.path) <= BLOCK)
        assert digest_of(await read_anew(cache, upstream, LARGE_DIGEST)) == LARGE_DIGEST


async def test_a_later_reader_shares_the_spool(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, LARGE)
    async with Cache(upstream, local, max_bytes=MIB) as cache, asyncio.timeout(20):
        slow = await cache.get_blob(REPOSITORY, LARGE_DIGEST)
        for _ in range(3):
            assert digest_of(await read(cache.get_blob(REPOSITORY, LARGE_DIGEST))) == LARGE_DIGEST
        assert digest_of(await read(asyncio.sleep(0, slow))) == LARGE_DIGEST
    assert upstream.asked[f"blob {LARGE_DIGEST}"] == 1


async def test_a_blob_that_does_not_fit_is_cancelled_without_readers(local: Backend, upstream: Upstream) -> None:
    content = LARGE * 8
    digest = await push(upstream.memory, REPOSITORY, content)
    upstream.gate.clear()
    async with Cache(upstream, local, max_bytes=MIB) as cache, asyncio.timeout(20):
        reader = await cache.get_blob(REPOSITORY, digest)
        await reader.aclose()
        upstream.gate.set()
        await until(lambda: upstream.closed > 0)
        assert upstream.given < len(content)


@pytest.mark.parametrize("wrong", [LARGE[:-1] + b"?", LARGE[:-1], LARGE + b"?"], ids=["other", "shorter", "longer"])
async def test_a_wrong_blob_that_does_not_fit_is_not_given_completely(
    local: Backend, upstream: Upstream, wrong: bytes
) -> None:
    await push(upstream.memory, REPOSITORY, LARGE)
    upstream.replaced[LARGE_DIGEST] = wrong
    async with Cache(upstream, local, max_bytes=MIB) as cache:
        given = 0
        reader = await cache.get_blob(REPOSITORY, LARGE_DIGEST)
        with pytest.raises(Exception, match=r"digest|sent|longer"):  # noqa: PT012
            async for piece in reader:
                given += len(piece)
        await reader.aclose()
        assert given < len(LARGE)


async def test_a_small_blob_that_does_not_fit(local: Backend, upstream: Upstream) -> None:
    digest = await push(upstream.memory, REPOSITORY, b"0123456789")
    async with Cache(upstream, local, max_bytes=5) as cache:
        assert await read(cache.get_blob(REPOSITORY, digest)) == b"0123456789"
        assert not await has(local, REPOSITORY, digest)
        upstream.replaced[digest] = b"012345678?"
        with pytest.raises(OCIError) as caught:
            await read_anew(cache, upstream, digest)
        assert caught.value.status == 502


async def test_a_lower_bound_applies_from_the_start(store: Store, upstream: Upstream) -> None:
    async with Cache(upstream, store) as cache:
        for seed in range(8):
            await read(cache.get_blob(REPOSITORY, await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed))))
    assert taken(store.path) > BOUND
    async with Cache(upstream, store, max_bytes=BOUND):
        await until(lambda: taken(store.path) <= BOUND)


async def test_the_connection_to_upstream_is_closed_at_the_end_of_the_blob(local: Backend, upstream: Upstream) -> None:
    """However slowly the last reader reads a blob that is not kept."""
    await push(upstream.memory, REPOSITORY, LARGE)
    async with Cache(upstream, local, max_bytes=MIB) as cache:
        reader = await cache.get_blob(REPOSITORY, LARGE_DIGEST)
        await until(lambda: upstream.closed > 0)
        assert digest_of(await read(asyncio.sleep(0, reader))) == LARGE_DIGEST
