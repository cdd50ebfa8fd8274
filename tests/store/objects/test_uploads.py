"""Uploads of every size, in one request and in several, by one node and by several."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
from collections.abc import Callable
from typing import Any

import pytest

from ociserver import OCIError
from ociserver.store import Store
from ociserver.store.check import check
from ociserver.store.objects.upload import ObjectUpload
from tests.contract.contents import REPOSITORY, digest_of, push_blob, read_blob
from tests.contract.errors import refused
from tests.store.objects.looking import PART, assert_known, change, finish, go_on, rows, start, stored
from tests.support.bucket import Versity

pytestmark = pytest.mark.anyio

SIZES = {
    "in its row": 16 * 1024,
    "one object": 16 * 1024 + 1,
    "almost a part": PART - 1,
    "a part": PART,
    "more than a part": PART + 1,
    "three parts": 2 * PART + 12_345,
}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
async def test_in_one_request(store: Store, bucket: Versity, size: int) -> None:
    content = os.urandom(size)
    digest = await push_blob(store, content)
    assert await read_blob(store, digest) == content
    assert list(stored(bucket).values()) == ([] if size <= 16 * 1024 else [size])
    assert await rows(store, "SELECT * FROM objects") == []
    assert bucket.uploads() == []
    assert (await check(store, content=True)).findings == []


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
async def test_as_docker_does(store: Store, bucket: Versity, open_store: Callable[..., Any], size: int) -> None:
    """POST, a PATCH with all bytes, and an empty PUT, each by another node."""
    content = os.urandom(size)
    upload_id = await start(store)
    assert await go_on(await open_store(), upload_id, 0, content) == size
    await assert_known(store, bucket)
    digest = await finish(store, upload_id, content)
    await assert_known(store, bucket)
    assert await read_blob(store, digest) == content
    assert bucket.uploads() == []


async def test_in_many_requests(store: Store, bucket: Versity, open_store: Callable[..., Any]) -> None:
    """Each request begins where the last one ended, wherever that is in a part, and on another node."""
    nodes = [store, await open_store()]
    content, offset = os.urandom(3 * PART + 7), 0
    upload_id = await start(store)
    for number, size in enumerate((10, 20_000, PART, PART - 20_010, 1, PART - 1, 5)):
        offset = await go_on(nodes[number % 2], upload_id, offset, content[offset : offset + size])
        await assert_known(store, bucket)
    digest = await finish(nodes[1], upload_id, content, content[offset:])
    assert await read_blob(store, digest) == content
    await assert_known(store, bucket)
    assert (await check(store, content=True)).findings == []


@pytest.mark.parametrize("size", [100_000, 2 * PART])
async def test_by_another_algorithm(store: Store, bucket: Versity, size: int) -> None:
    content = os.urandom(size)
    digest = await finish(store, await start(store, content), content, algorithm="sha512")
    assert await read_blob(store, digest) == content
    await assert_known(store, bucket)


@pytest.mark.parametrize("size", [100_000, PART + 1])
async def test_a_wrong_digest(store: Store, bucket: Versity, size: int) -> None:
    """The upload goes on, and the right digest is accepted."""
    content = os.urandom(size)
    upload_id = await start(store, content)
    with refused("DIGEST_INVALID"):
        upload = await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=size, digest=digest_of(b""))
        try:
            await upload.commit(digest_of(b"other"))
        finally:
            await upload.aclose()
    assert await read_blob(store, await finish(store, upload_id, content)) == content
    await assert_known(store, bucket)


async def test_bytes_of_a_client_that_goes_away_count(store: Store, bucket: Versity) -> None:
    content = os.urandom(2 * PART)
    upload = await store.push_blob_chunked(REPOSITORY)
    await upload.write(content[: PART + 3])
    await upload.aclose()
    assert await go_on(store, upload.id, PART + 3, b"") == PART + 3
    digest = await finish(store, upload.id, content, content[PART + 3 :])
    assert await read_blob(store, digest) == content


async def test_a_content_that_is_there_already(store: Store, bucket: Versity) -> None:
    content = os.urandom(PART + 1)
    await push_blob(store, content)
    [key] = stored(bucket)
    await push_blob(store, content, "other")
    assert key in stored(bucket)
    await assert_known(store, bucket)


async def test_a_cancelled_upload(store: Store, bucket: Versity) -> None:
    upload = await store.push_blob_chunked(REPOSITORY)
    await upload.write(os.urandom(2 * PART))
    await upload.cancel()
    await assert_known(store, bucket)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await go_on(store, upload.id, 0, b"x")


async def test_a_request_that_has_ended_keeps_no_memory(store: Store) -> None:
    """Each has a buffer of the size of a part. Python finds no garbage that only the extension refers to."""
    content = os.urandom(PART + 2)
    upload_id = await start(store, content[:-1])
    await go_on(store, upload_id, PART + 1, content[-1:])
    await finish(store, upload_id, content)
    await (await store.push_blob_chunked_resume(REPOSITORY, await start(store, content), offset=None)).cancel()
    gc.collect()
    assert [found for found in gc.get_objects() if isinstance(found, ObjectUpload)] == []


async def test_one_writer_at_a_time(store: Store, open_store: Callable[..., Any]) -> None:
    other = await open_store()
    content = os.urandom(PART + 1)
    first = await store.push_blob_chunked(REPOSITORY)
    await first.write(content[:50_000])
    with refused("RANGE_INVALID"):
        await go_on(other, first.id, 0, content[:50_000])
    await first.aclose()
    assert await go_on(other, first.id, 50_000, content[50_000:]) == PART + 1
    assert await read_blob(store, await finish(store, first.id, content)) == content


async def test_a_writer_that_was_believed_dead(
    store: Store, bucket: Versity, open_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node takes over when its hold has ended. What it does afterwards changes nothing."""
    content = os.urandom(2 * PART + 10)
    upload_id = await start(store, content[: PART + 10])
    dead = await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=PART + 10)
    await dead.write(b"late" * 10_000)
    await change(store, "UPDATE holds SET until = 0")
    other = await open_store()
    assert await go_on(other, upload_id, PART + 10, content[PART + 10 :]) == len(content)
    monkeypatch.setattr("ociserver.store.objects.hold.HOLD_S", 0)  # as if it had slept since it renewed its hold
    with refused("RANGE_INVALID"):
        await dead.aclose()
    assert await read_blob(other, await finish(other, upload_id, content)) == content
    await assert_known(store, bucket)


async def test_a_hold_is_renewed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ociserver.store.objects.hold.HOLD_S", 0.3)
    upload = await store.push_blob_chunked(REPOSITORY)
    await upload.write(os.urandom(50_000))
    await change(store, "UPDATE holds SET until = 0")
    await asyncio.sleep(0.3)
    [(until,)] = await rows(store, "SELECT until FROM holds")
    assert until > 0
    await upload.aclose()
    assert await rows(store, "SELECT * FROM holds") == []


async def test_an_upload_that_another_node_ends(
    store: Store, open_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ociserver.store.objects.hold.HOLD_S", 0.3)
    upload = await store.push_blob_chunked(REPOSITORY)
    await upload.write(os.urandom(50_000))
    await (await (await open_store()).push_blob_chunked_resume(REPOSITORY, upload.id, offset=None)).cancel()
    await asyncio.sleep(0.3)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await upload.write(b"more")
    await upload.aclose()


async def test_a_commit_that_the_database_has_not_heard_of(
    store: Store, bucket: Versity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is complete, and the transaction fails. The client repeats its request, and it works."""
    content = os.urandom(2 * PART + 5)
    upload_id = await start(store, content)

    async def fail(*_: Any, **__: Any) -> None:
        raise OCIError("UNKNOWN", "no database", status=503)

    with monkeypatch.context() as patch:
        patch.setattr(store.uploads, "commit", fail)
        with pytest.raises(OCIError, match="no database"):
            await finish(store, upload_id, content)
    assert len(content) in stored(bucket).values()
    assert await read_blob(store, await finish(store, upload_id, content)) == content
    await assert_known(store, bucket)


async def test_a_commit_with_bytes_that_the_database_has_not_heard_of(
    store: Store, bucket: Versity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What earlier requests have brought is still there, although the multipart upload is complete."""
    content = os.urandom(2 * PART + 5)
    upload_id = await start(store, content[:-5])

    async def fail(*_: Any, **__: Any) -> None:
        raise OCIError("UNKNOWN", "no database", status=503)

    with monkeypatch.context() as patch:
        patch.setattr(store.uploads, "commit", fail)
        with pytest.raises(OCIError, match="no database"):
            await finish(store, upload_id, content, content[-5:])
    assert await read_blob(store, await finish(store, upload_id, content)) == content
    await assert_known(store, bucket)


async def test_a_part_size_that_has_changed(store: Store, bucket: Versity, open_store: Callable[..., Any]) -> None:
    """Each upload keeps its own, so nodes may differ."""
    content = os.urandom(2 * PART + 12_345)
    other = await open_store(part_size=2 * PART)
    upload_id = await start(store, content[: PART + 5])
    offset = await go_on(other, upload_id, PART + 5, content[PART + 5 : -1])
    assert await read_blob(store, await finish(store, upload_id, content, content[offset:])) == content
    await assert_known(store, bucket)


async def test_a_state_of_a_newer_version(store: Store, bucket: Versity) -> None:
    """A node of the version before continues the upload during an upgrade."""
    content = os.urandom(PART + 12_345)
    upload_id = await start(store, content[:-1])
    ((state,),) = await rows(store, "SELECT state FROM uploads WHERE id = ?", upload_id)
    newer = json.dumps({**json.loads(state), "added": 1}).encode()
    await change(store, "UPDATE uploads SET state = ? WHERE id = ?", newer, upload_id)
    assert await read_blob(store, await finish(store, upload_id, content, content[-1:])) == content
    await assert_known(store, bucket)


async def test_more_parts_than_a_bucket_takes(store: Store, bucket: Versity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ociserver.store.objects.upload.MAX_PARTS", 2)
    content = os.urandom(2 * PART)
    upload_id = await start(store, content[:-2])
    with pytest.raises(OCIError, match="less than 10485760 bytes") as raised:
        await finish(store, upload_id, content, content[-2:])
    assert (raised.value.code, raised.value.status) == ("SIZE_INVALID", 413)
    content = content[:-1]
    assert await read_blob(store, await finish(store, upload_id, content, content[-1:])) == content


@pytest.mark.parametrize(
    "part_size, first, expected",
    [
        (2 * PART, 20_000, math.ceil(PART / 20_000) * 20_000),
        (2 * PART, PART, PART),
        (20 * PART, PART, 10 * PART),
        (20 * PART, 11 * PART, 11 * PART),
    ],
)
async def test_the_first_request_decides_the_size_of_parts(
    open_store: Callable[..., Any], part_size: int, first: int, expected: int
) -> None:
    """But they are not so small that half of the largest blob would not fit."""
    store = await open_store(part_size=part_size)
    ((state,),) = await rows(
        store, "SELECT state FROM uploads WHERE id = ?", await start(store, b"a" * (first - 1), b"b")
    )
    assert json.loads(state)["part_size"] == expected
