"""Reads of blobs in objects, and objects that are missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from ociserver import ByteRange
from ociserver.store import Store, StoreError
from ociserver.store.check import check
from ociserver.store.objects import ObjectStorage
from tests.contract.contents import REPOSITORY, digest_of, push_blob, read_blob
from tests.contract.errors import refused
from tests.store.objects.looking import PART, PREFIX, assert_known, stored
from tests.support.bucket import Versity

pytestmark = pytest.mark.anyio

CONTENT = os.urandom(3_000_000)


async def fetch(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return (await client.get(url, headers=headers)).raise_for_status()


@pytest.mark.parametrize(
    "asked, expected",
    [
        (ByteRange(0, 0), CONTENT[:1]),
        (ByteRange(0, None), CONTENT),
        (ByteRange(1_000, 1_999_999), CONTENT[1_000:2_000_000]),
        (ByteRange(2_999_999, 9_999_999), CONTENT[-1:]),
    ],
    ids=["first byte", "all", "middle", "last byte"],
)
async def test_ranges(store: Store, asked: ByteRange, expected: bytes) -> None:
    assert await read_blob(store, await push_blob(store, CONTENT), asked) == expected


async def test_parts_of_one_reader(store: Store) -> None:
    digest = await push_blob(store, CONTENT)
    async with aclosing(await store.get_blob(REPOSITORY, digest, ByteRange(0, 10))) as reader:
        for start, stop in ((5, 7), (2_000_000, 3_000_000), (0, 1)):
            found = b"".join([piece async for piece in reader.part(start, stop)])  # type: ignore[attr-defined]
            assert found == CONTENT[start:stop]


@pytest.mark.parametrize("harm", ["deleted", "truncated"])
async def test_a_missing_object_heals(store: Store, bucket: Versity, harm: str) -> None:
    digest = await push_blob(store, CONTENT)
    [key] = stored(bucket)
    path = bucket.path(f"{PREFIX}/{key}")
    if harm == "deleted":
        path.unlink()
    else:
        os.truncate(path, 1_000_000)
    for _ in range(2):
        with refused("BLOB_UNKNOWN"):
            await read_blob(store, digest)
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest)
    await push_blob(store, CONTENT)
    assert await read_blob(store, digest) == CONTENT
    assert (await check(store, content=True)).faults == []


async def test_a_missing_object_that_nobody_has_asked_for_heals(store: Store, bucket: Versity) -> None:
    digest = await push_blob(store, CONTENT)
    [key] = stored(bucket)
    bucket.path(f"{PREFIX}/{key}").unlink()
    await push_blob(store, CONTENT)
    assert await read_blob(store, digest) == CONTENT
    await assert_known(store, bucket)


async def test_a_bucket_that_is_gone_marks_nothing(store: Store, bucket: Versity) -> None:
    """As if the folder of the bucket was not mounted: when it is back, everything is there."""
    digest = await push_blob(store, CONTENT)
    objects = bucket.path(PREFIX)
    aside = objects.with_name("aside")
    objects.rename(aside)
    with refused("BLOB_UNKNOWN"):
        await read_blob(store, digest)
    aside.rename(objects)
    assert await read_blob(store, digest) == CONTENT


async def test_another_bucket_is_refused(store: Store, make_store: Callable[..., Store], bucket: Versity) -> None:
    await push_blob(store, CONTENT)
    with pytest.raises(StoreError, match="does not have the contents of this registry: check bucket and prefix"):
        async with make_store(url=f"{bucket.url}/elsewhere"):
            pass


@pytest.mark.parametrize("wrong", ["bucket", "secret", "endpoint"])
async def test_a_bucket_that_cannot_be_used(make_store: Callable[..., Store], bucket: Versity, wrong: str) -> None:
    options = bucket.options()
    if wrong == "secret":
        options["aws_secret_access_key"] = "not-the-secret"
    elif wrong == "endpoint":
        options["aws_endpoint"] = "http://127.0.0.1:1"
    url = "s3://nobodys" if wrong == "bucket" else bucket.url
    with pytest.raises(StoreError, match=r"the bucket s3://.* cannot be used") as caught:
        async with make_store(url=url, options=options, retry_s=0.1):
            pass
    assert options["aws_secret_access_key"] not in str(caught.value)
    assert "secret" not in repr(ObjectStorage(url=url, options=options))


async def test_signed_urls(open_store: Callable[..., Any]) -> None:
    store = await open_store(redirect=True, least_redirected=100_000)
    large, small = await push_blob(store, CONTENT), await push_blob(store, os.urandom(99_999))
    url = await store.locate_blob(REPOSITORY, large)
    answer = await fetch(url.url, {"Range": "bytes=5-9"})
    assert answer.content == CONTENT[5:10]
    assert answer.headers["content-type"] == "application/octet-stream"
    assert await store.locate_blob(REPOSITORY, large) == url, "caches in front of the bucket can hit"
    assert await store.locate_blob(REPOSITORY, small) is None
    with refused("BLOB_UNKNOWN"):
        await store.locate_blob(REPOSITORY, digest_of(b"unknown"))
    with refused("NAME_UNKNOWN"):
        await store.locate_blob("other/repository", large)


async def test_a_signed_url_for_the_endpoint_of_clients(open_store: Callable[..., Any], bucket: Versity) -> None:
    store = await open_store(
        redirect=True, public_endpoint=f"http://localhost:{bucket.port}", options=bucket.options(), part_size=PART
    )
    url = await store.locate_blob(REPOSITORY, await push_blob(store, CONTENT))
    assert url.url.startswith(f"http://localhost:{bucket.port}/")
    assert (await fetch(url.url)).content == CONTENT


async def test_no_redirects_unless_wanted(store: Store) -> None:
    assert await store.locate_blob(REPOSITORY, await push_blob(store, CONTENT)) is None


def test_a_url_that_outlives_its_object_is_refused() -> None:
    with pytest.raises(ValueError, match="must exist for longer"):
        ObjectStorage(url="s3://bucket", url_lifetime_s=1800, delete_after_s=1800)
