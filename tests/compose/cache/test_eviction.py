"""The bound: the least recently used contents are evicted, and pushed contents never are."""

from __future__ import annotations

import asyncio

import pytest

from ociserver import Backend, OCIError
from ociserver.compose import Cache
from tests.compose.cache.upstream import REPOSITORY, Upstream, push, read
from tests.support.images import random_bytes

pytestmark = pytest.mark.anyio

SIZE = 100_000
BOUND = 3 * SIZE + 10_000


async def kept(local: Backend, digests: list[str]) -> list[bool]:
    found = []
    for digest in digests:
        try:
            await local.resolve_blob(REPOSITORY, digest)
            found.append(True)
        except OCIError:
            found.append(False)
    return found


@pytest.fixture
async def blobs(upstream: Upstream) -> list[str]:
    return [await push(upstream.memory, REPOSITORY, random_bytes(SIZE, seed)) for seed in range(8)]


async def test_the_least_recently_used_is_evicted(local: Backend, upstream: Upstream, blobs: list[str]) -> None:
    async with Cache(upstream, local, max_bytes=BOUND, use_after=0) as cache:
        for digest in (*blobs[:3], blobs[0], blobs[3]):
            await read(cache.get_blob(REPOSITORY, digest))
        assert await kept(local, blobs[:4]) == [True, False, True, True]


async def test_the_bound_holds_with_concurrent_downloads(local: Backend, upstream: Upstream, blobs: list[str]) -> None:
    async with Cache(upstream, local, max_bytes=BOUND) as cache:
        for _ in range(3):
            await asyncio.gather(*(read(cache.get_blob(REPOSITORY, digest)) for digest in blobs))
            assert sum(await kept(local, blobs)) <= 3


async def test_a_blob_that_does_not_fit_is_passed_on(local: Backend, upstream: Upstream, blobs: list[str]) -> None:
    large = await push(upstream.memory, REPOSITORY, random_bytes(BOUND + 1, seed=99))
    async with Cache(upstream, local, max_bytes=BOUND) as cache:
        await read(cache.get_blob(REPOSITORY, blobs[0]))
        assert len(await read(cache.get_blob(REPOSITORY, large))) == BOUND + 1
        assert await kept(local, [blobs[0], large]) == [True, False]


async def test_a_tag_whose_manifest_was_evicted_is_fetched_again(
    local: Backend, upstream: Upstream, blobs: list[str]
) -> None:
    digest = await upstream.image(b"layer")
    async with Cache(upstream, local, max_bytes=BOUND) as cache:
        await cache.get_tag(REPOSITORY, "latest")
        for one in blobs:
            await read(cache.get_blob(REPOSITORY, one))
        with pytest.raises(OCIError):
            await local.get_manifest(REPOSITORY, digest)
        assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.digest == digest


async def test_pushed_contents_are_never_evicted(local: Backend, upstream: Upstream, blobs: list[str]) -> None:
    async with Cache(upstream, local, max_bytes=BOUND) as cache:
        pushed = await push(cache, "team/app", random_bytes(2 * BOUND, seed=50))
        await cache.push_manifest("team/app", b"{}", "application/x", tags=["v1"])
        for digest in blobs:
            await read(cache.get_blob(REPOSITORY, digest))
        await local.resolve_blob("team/app", pushed)
        await local.resolve_tag("team/app", "v1")


async def test_a_failed_download_is_not_counted(local: Backend, upstream: Upstream, blobs: list[str]) -> None:
    async with Cache(upstream, local, max_bytes=BOUND) as cache:
        for digest in blobs[:3]:
            await read(cache.get_blob(REPOSITORY, digest))
        upstream.replaced[blobs[4]] = bytes(SIZE)
        with pytest.raises(OCIError):
            await read(cache.get_blob(REPOSITORY, blobs[4]))
        await read(cache.get_blob(REPOSITORY, blobs[5]))
        # The failed download had made room, which the next one can use.
        assert await kept(local, blobs[:6]) == [False, True, True, False, False, True]
