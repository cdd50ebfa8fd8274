"""Temporary files have bounded room, which slow clients and large blobs do not take from everybody else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ociserver import BlobReader, ByteRange, Memory, Store
from ociserver.compose import Cache
from ociserver.memory.content import Reader
from ociserver.store.objects import ObjectStorage
from tests.compose.cache.upstream import MIB, REPOSITORY, Upstream, push, read, until
from tests.contract.buckets import fresh_bucket
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

ROOM = 8 * MIB
WAIT_S = 10.0
"""No test waits so long, unless it fails."""


class Begun:
    """A client that has read the first piece of a blob, and then stops."""

    def __init__(self, reader: BlobReader, pieces: AsyncIterator[bytes], first: bytes) -> None:
        self._reader = reader
        self._pieces = pieces
        self._first = first

    @classmethod
    async def read(cls, cache: Cache, digest: str) -> Begun:
        reader = await cache.get_blob(REPOSITORY, digest)
        pieces = aiter(reader)
        return cls(reader, pieces, await anext(pieces))

    async def rest(self) -> bytes:
        """All bytes of the blob."""
        content = self._first + b"".join([piece async for piece in self._pieces])
        await self.leave()
        return content

    async def leave(self) -> None:
        await self._reader.aclose()


async def pushed(upstream: Upstream, size: int, seed: int = 0) -> str:
    return await push(upstream.memory, REPOSITORY, random_bytes(size, seed))


@pytest.fixture
async def passing(upstream: Upstream) -> AsyncIterator[Cache]:
    """A cache that keeps no blob of more than a byte, so that each has its file until its clients have left."""
    local = Memory(lax_child_references=True)
    async with Cache(upstream, local, max_bytes=1, max_downloads_bytes=ROOM, answer_timeout=WAIT_S) as cache:
        yield cache


async def test_others_pass_a_blob_that_is_larger_than_the_room(passing: Cache, upstream: Upstream) -> None:
    large = await Begun.read(passing, await pushed(upstream, ROOM + 1))
    for size in (2000, ROOM // 4):
        digest = await pushed(upstream, size)
        assert digest_of(await read(passing.get_blob(REPOSITORY, digest))) == digest
    assert len(await large.rest()) == ROOM + 1


async def test_small_contents_need_no_room(passing: Cache, upstream: Upstream) -> None:
    layers = [await Begun.read(passing, await pushed(upstream, ROOM // 4, seed)) for seed in range(4)]
    digest = await pushed(upstream, MIB)
    assert digest_of(await read(passing.get_blob(REPOSITORY, digest))) == digest
    for layer in layers:
        await layer.leave()


async def test_a_bound_of_nothing_is_one_file(upstream: Upstream) -> None:
    digests = [await pushed(upstream, 2 * MIB, seed) for seed in range(2)]
    async with Cache(upstream, Memory(), max_bytes=1, max_downloads_bytes=0, answer_timeout=0.1) as cache:
        first = await Begun.read(cache, digests[0])
        with pytest.raises(Exception, match="temporary files of other downloads"):
            await cache.get_blob(REPOSITORY, digests[1])
        await first.leave()
        await until(lambda: is_free(cache, digests[1]))


async def is_free(cache: Cache, digest: str) -> bool:
    try:
        return digest_of(await read(cache.get_blob(REPOSITORY, digest))) == digest
    except Exception:
        return False


def was_asked(upstream: Upstream, digest: str) -> bool:
    return upstream.asked[f"blob {digest}"] == 1


async def test_downloads_get_room_in_order(passing: Cache, upstream: Upstream) -> None:
    first, second = [await Begun.read(passing, await pushed(upstream, 3 * MIB, seed)) for seed in range(2)]
    waiting = []
    # Four do not fit beside six of eight, and two would.
    for size in (4 * MIB, 2 * MIB):
        digest = await pushed(upstream, size)
        waiting.append(asyncio.ensure_future(Begun.read(passing, digest)))
        await until(partial(was_asked, upstream, digest))
        await asyncio.sleep(0.01)
    await first.leave()
    large = await waiting[0]
    await second.leave()
    small = await waiting[1]
    assert (len(await large.rest()), len(await small.rest())) == (4 * MIB, 2 * MIB)


def over_bucket(upstream: Upstream, folder: Path, objects: ObjectStorage, **settings: Any) -> Cache:
    """One process of a node."""
    store = Store(folder, objects=objects, lax_child_references=True)
    return Cache(upstream, store, max_downloads_bytes=ROOM, answer_timeout=WAIT_S, **settings)


def open_files(folder: Path) -> int:
    """How many temporary files below a folder this process has open, including deleted ones."""
    found = 0
    for entry in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{entry}")
            found += target.startswith(f"{folder}/") and ".part" in target
    return found


async def test_slow_clients_have_no_temporary_file_of_a_kept_blob(upstream: Upstream, tmp_path: Path) -> None:
    data, objects = tmp_path / "data", fresh_bucket()
    digest, other = [await pushed(upstream, 6 * MIB, seed) for seed in range(2)]
    upstream.gate.clear()
    async with over_bucket(upstream, data, objects) as one, over_bucket(upstream, data, objects) as two:
        slow = [await Begun.read(cache, digest) for cache in (one, two)]
        assert open_files(data) >= 2
        upstream.gate.set()
        await until(lambda: open_files(data) == 0)
        assert digest_of(await read(one.get_blob(REPOSITORY, other))) == other
        assert [digest_of(await client.rest()) for client in slow] == [digest] * 2
    assert upstream.asked == {f"blob {digest}": 1, f"blob {other}": 1}


async def test_a_slow_client_gets_all_of_a_blob_that_is_evicted(upstream: Upstream, tmp_path: Path) -> None:
    digest, other = [await pushed(upstream, 6 * MIB, seed) for seed in range(2)]
    async with over_bucket(upstream, tmp_path / "data", fresh_bucket(), max_bytes=ROOM) as cache:
        slow = await Begun.read(cache, digest)
        await read(cache.get_blob(REPOSITORY, digest))
        await read(cache.get_blob(REPOSITORY, other))
        assert digest_of(await slow.rest()) == digest
    assert upstream.asked[f"blob {digest}"] == 2


async def test_bytes_that_another_process_has_not_verified_are_not_used(upstream: Upstream, tmp_path: Path) -> None:
    content = random_bytes(2 * MIB, seed=1)
    digest = await push(upstream.memory, REPOSITORY, content)
    upstream.replaced[digest] = bytes(len(content))
    upstream.gate.clear()
    data, objects = tmp_path / "data", fresh_bucket()
    async with over_bucket(upstream, data, objects) as one, over_bucket(upstream, data, objects) as two:
        clients = [await Begun.read(cache, digest) for cache in (one, two)]
        async with Store(data, objects=objects, lax_child_references=True) as store:
            await push(store, REPOSITORY, content)
        upstream.gate.set()
        for client, why in zip(clients, ("does not match its digest", "was restarted"), strict=True):
            with pytest.raises(Exception, match=why):
                await client.rest()
            await client.leave()
        assert await read(two.get_blob(REPOSITORY, digest)) == content


async def test_a_client_that_keeps_up_needs_nothing_of_the_local_registry(upstream: Upstream) -> None:
    digest = await pushed(upstream, 2 * MIB)
    local = Asked(lax_child_references=True)
    async with Cache(upstream, local) as cache:
        assert digest_of(await read(cache.get_blob(REPOSITORY, digest))) == digest
        assert local.asked == 1  # whether it has the blob


class Asked(Memory):
    """Counts reads."""

    asked = 0

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Reader:
        self.asked += 1
        return await super().get_blob(repository, digest, range)
