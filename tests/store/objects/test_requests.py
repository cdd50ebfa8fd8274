"""How many requests to the bucket each operation takes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ociserver.store import Store
from tests.contract.contents import REPOSITORY, push_blob, read_blob
from tests.store.objects.looking import PART, finish, go_on, start
from tests.support.bucket import Versity
from tests.support.counted import Counted, counted

pytestmark = pytest.mark.anyio


@pytest.fixture
def proxy(bucket: Versity, tmp_path: Path) -> Iterator[Counted]:
    with counted(bucket.port, tmp_path / "counted") as proxy:
        yield proxy


@pytest.fixture
async def store(make_store: Callable[..., Store], proxy: Counted) -> AsyncIterator[Store]:
    async with make_store(port=proxy.port, redirect=True, least_redirected=1) as store:
        proxy.clear()
        yield store


async def test_a_small_blob_takes_none(store: Store, proxy: Counted) -> None:
    digest = await push_blob(store, b"small")
    await read_blob(store, digest)
    assert proxy.operations() == Counter()


async def test_a_layer_of_one_part_takes_one(store: Store, proxy: Counted) -> None:
    content = os.urandom(PART - 1)
    await finish(store, await start(store, content), content)
    await push_blob(store, os.urandom(100_000))
    assert proxy.operations() == Counter({"put": 2})


async def test_a_layer_takes_its_parts_and_three(store: Store, proxy: Counted) -> None:
    """No listing, no copy, no HEAD."""
    content = os.urandom(3 * PART + 1)
    await finish(store, await start(store, content), content)
    expected = {"create multipart": 1, "put part": 4, "put": 1, "complete multipart": 1}
    assert proxy.operations() == Counter(expected)


async def test_a_layer_in_one_put(store: Store, proxy: Counted) -> None:
    await push_blob(store, os.urandom(3 * PART + 1))
    assert proxy.operations() == Counter({"create multipart": 1, "put part": 4, "complete multipart": 1})


async def test_chunks_of_the_recommended_size_leave_no_tails(store: Store, proxy: Counted) -> None:
    upload = await store.push_blob_chunked(REPOSITORY)
    await upload.aclose()
    content, chunk = os.urandom(3 * PART), upload.chunk_size
    for offset in range(0, len(content), chunk):
        await go_on(store, upload.id, offset, content[offset : offset + chunk])
    await finish(store, upload.id, content)
    assert proxy.operations() == Counter({"create multipart": 1, "put part": 3, "complete multipart": 1})


async def test_parts_have_the_size_of_chunks(make_store: Callable[..., Store], proxy: Counted) -> None:
    """Those of a client that ignores the recommended size: only the first one and the last are stored as tails."""
    content, chunk = os.urandom(4 * PART), PART + 7
    async with make_store(port=proxy.port, part_size=2 * PART) as store:
        proxy.clear()
        upload_id = await start(store)
        for offset in range(0, len(content), chunk):
            await go_on(store, upload_id, offset, content[offset : offset + chunk])
        digest = await finish(store, upload_id, content)
        expected = {"put": 2, "get": 1, "create multipart": 1, "put part": 4, "complete multipart": 1}
        assert proxy.operations() == Counter(expected)
        assert await read_blob(store, digest) == content


async def test_reads(store: Store, proxy: Counted) -> None:
    digest = await push_blob(store, os.urandom(100_000))
    proxy.clear()
    await store.resolve_blob(REPOSITORY, digest)
    await store.mount_blob(REPOSITORY, "other", digest)
    assert await store.locate_blob(REPOSITORY, digest)
    assert proxy.operations() == Counter(), "neither a HEAD, nor a mount, nor a GET that is redirected"
    await read_blob(store, digest)
    assert proxy.operations() == Counter({"get": 1})


async def test_a_content_that_is_there_already(store: Store, proxy: Counted) -> None:
    content = os.urandom(100_000)
    await push_blob(store, content)
    proxy.clear()
    await push_blob(store, content, "other")
    assert proxy.operations() == Counter({"put": 1, "head": 1}), "it is checked, so that a push repairs it"
