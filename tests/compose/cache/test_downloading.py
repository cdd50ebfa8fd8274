"""Blobs are fetched once, served while they arrive, and kept only if they are correct."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from ociserver import Backend, BlobReader, ByteRange, Handler, OCIError
from ociserver.compose import Cache
from tests.compose.cache.upstream import MIB, REPOSITORY, Upstream, push, read
from tests.handler.driver import request
from tests.handler.test_ranges import parts_of
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

CONTENT = random_bytes(2 * MIB, seed=6)
DIGEST = digest_of(CONTENT)


async def take(reader: BlobReader, size: int) -> bytes:
    """The first bytes of a blob."""
    taken = b""
    async for piece in reader:
        taken += piece
        if len(taken) >= size:
            break
    return taken


async def take_all(reader: BlobReader, given: list[bytes]) -> None:
    async for piece in reader:
        # One by one, because the bytes before an error count.
        given.append(piece)  # noqa: PERF401


@pytest.mark.parametrize("size", [0, 1, 100, 16 * 1024 + 1, 64 * 1024, 64 * 1024 + 1, 3 * MIB + 7])
async def test_every_size_is_fetched_once_and_then_kept(local: Backend, upstream: Upstream, size: int) -> None:
    digest = await push(upstream.memory, REPOSITORY, random_bytes(size, seed=size))
    async with Cache(upstream, local) as cache:
        for _ in range(2):
            assert digest_of(await read(cache.get_blob(REPOSITORY, digest))) == digest
        assert upstream.asked == {f"blob {digest}": 1}
        assert (await local.resolve_blob(REPOSITORY, digest)).size == size


async def test_concurrent_reads_are_one_request(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, CONTENT)
    async with Cache(upstream, local) as cache:
        found = await asyncio.gather(*(read(cache.get_blob(REPOSITORY, DIGEST)) for _ in range(32)))
    assert set(map(digest_of, found)) == {DIGEST}
    assert upstream.asked == {f"blob {DIGEST}": 1}


async def test_a_growing_blob_is_served_from_the_first_byte_and_in_ranges(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, CONTENT)
    upstream.gate.clear()
    async with Cache(upstream, local) as cache, asyncio.timeout(20):
        reader = await cache.get_blob(REPOSITORY, DIGEST)
        assert (reader.descriptor.size, reader.range) == (len(CONTENT), (0, len(CONTENT)))
        assert await take(reader, MIB - 1) == CONTENT[:MIB]
        assert await read(cache.get_blob(REPOSITORY, DIGEST, ByteRange(1000, 99_999))) == CONTENT[1000:100_000]
        beyond = asyncio.ensure_future(read(cache.get_blob(REPOSITORY, DIGEST, ByteRange(None, 10))))
        with pytest.raises(OCIError) as outside:
            await cache.get_blob(REPOSITORY, DIGEST, ByteRange(len(CONTENT), None))
        assert (outside.value.code, outside.value.detail) == ("RANGE_INVALID", {"size": len(CONTENT)})
        with pytest.raises(OCIError):
            await local.resolve_blob(REPOSITORY, DIGEST)
        assert not beyond.done()
        upstream.gate.set()
        assert await beyond == CONTENT[-10:]
        await reader.aclose()


async def test_several_ranges_of_a_growing_blob_in_one_answer(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, CONTENT)
    upstream.gate.clear()
    async with Cache(upstream, local) as cache, asyncio.timeout(20):
        path = f"/v2/{REPOSITORY}/blobs/{DIGEST}"
        reply = await request(Handler(cache), "GET", path, headers={"range": "bytes=500000-500009,0-9"})
        assert [content for _, content in parts_of(reply)] == [CONTENT[:10], CONTENT[500_000:500_010]]
        upstream.gate.set()
    assert upstream.asked[f"blob {DIGEST}"] == 1


async def test_a_download_continues_without_its_first_reader(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, CONTENT)
    upstream.gate.clear()
    async with Cache(upstream, local) as cache:
        first = asyncio.ensure_future(read(cache.get_blob(REPOSITORY, DIGEST)))
        second = asyncio.ensure_future(read(cache.get_blob(REPOSITORY, DIGEST)))
        await asyncio.sleep(0.05)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        upstream.gate.set()
        assert await second == CONTENT
    assert upstream.asked == {f"blob {DIGEST}": 1}


@pytest.mark.parametrize(
    "wrong, why",
    [
        (CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), "digest"),
        (CONTENT[:-1000], "sent"),
        (CONTENT + b"more", "longer"),
        (bytes(len(CONTENT)), "digest"),
    ],
    ids=["last byte", "truncated", "longer", "zeros"],
)
async def test_wrong_content_is_neither_kept_nor_given_completely(
    local: Backend, upstream: Upstream, wrong: bytes, why: str
) -> None:
    await push(upstream.memory, REPOSITORY, CONTENT)
    upstream.replaced[DIGEST] = wrong
    async with Cache(upstream, local) as cache:
        reader = await cache.get_blob(REPOSITORY, DIGEST)
        given: list[bytes] = []
        with pytest.raises(Exception, match=why):
            await take_all(reader, given)
        await reader.aclose()
        assert sum(map(len, given)) < len(CONTENT)
        with pytest.raises(OCIError):
            await local.resolve_blob(REPOSITORY, DIGEST)
        # The next request asks upstream again.
        del upstream.replaced[DIGEST]
        assert await read(cache.get_blob(REPOSITORY, DIGEST)) == CONTENT


async def test_a_small_wrong_blob_is_an_error_and_not_a_truncated_answer(local: Backend, upstream: Upstream) -> None:
    digest = await push(upstream.memory, REPOSITORY, b"config")
    upstream.replaced[digest] = b"confix"
    async with Cache(upstream, local) as cache:
        with pytest.raises(OCIError) as wrong:
            await cache.get_blob(REPOSITORY, digest)
    assert (wrong.value.code, wrong.value.status) == ("DIGEST_INVALID", 502)


async def test_a_blob_of_another_repository_is_mounted_if_upstream_has_it(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, CONTENT)
    await push(upstream.memory, "other", CONTENT)
    await push(upstream.memory, "third", b"something else")
    async with Cache(upstream, local) as cache:
        assert await read(cache.get_blob(REPOSITORY, DIGEST)) == CONTENT
        assert await read(cache.get_blob("other", DIGEST)) == CONTENT
        with pytest.raises(OCIError, match="blob unknown"):
            await cache.get_blob("third", DIGEST)
    # Once for the content, and once for the answer that upstream's "third" does not have it.
    assert upstream.asked[f"blob {DIGEST}"] == 2


async def test_closing_ends_downloads(local: Backend, upstream: Upstream) -> None:
    await push(upstream.memory, REPOSITORY, CONTENT)
    upstream.gate.clear()
    async with Cache(upstream, local) as cache, asyncio.timeout(20):
        reader = await cache.get_blob(REPOSITORY, DIGEST)
    with pytest.raises(Exception, match="closing"):
        await read(asyncio.sleep(0, reader))
