"""What collection deletes in a bucket, and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ociserver.store import Store
from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from tests.contract.contents import REPOSITORY, push_blob, read_blob
from tests.contract.errors import refused
from tests.store.objects.looking import PART, PREFIX, assert_known, change, rows, start, stored
from tests.support.bucket import Versity

pytestmark = pytest.mark.anyio

AT_ONCE = Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0)


async def age(store: Store) -> None:
    """As if everything that is recorded had been recorded an hour earlier."""
    await change(store, "UPDATE objects SET since = since - 3600")


async def test_a_blob_that_nothing_needs(store: Store, bucket: Versity) -> None:
    """Its object outlives its row, because a client may have a URL of it."""
    digest = await push_blob(store, os.urandom(100_000))
    assert (await collect(store, AT_ONCE)).counts == {"unreferenced": 1, "unlinked": 1}
    with refused("BLOB_UNKNOWN"):
        await read_blob(store, digest)
    assert len(stored(bucket)) == 1
    await assert_known(store, bucket)
    assert (await collect(store, AT_ONCE)).counts == {}
    await age(store)
    assert (await collect(store, AT_ONCE, dry_run=True)).counts == {"recorded": 1}
    assert (await collect(store, AT_ONCE)).counts == {"recorded": 1}
    assert stored(bucket) == {}
    assert await rows(store, "SELECT * FROM objects") == []


async def test_abandoned_uploads(store: Store, bucket: Versity) -> None:
    """One in a single object, one with parts and a tail, and one in its row."""
    for size in (100_000, 2 * PART + 1, 10):
        await start(store, os.urandom(size))
    assert len(stored(bucket)) == 2
    [multipart] = bucket.uploads()
    assert set(multipart.parts) == {1, 2, 3}
    report = await collect(store, AT_ONCE)
    assert report.counts == {"abandoned": 3}
    assert report.in_database == 10
    await age(store)
    assert (await collect(store, AT_ONCE)).counts == {"recorded": 3}
    assert stored(bucket) == {}
    assert bucket.uploads() == []


async def test_what_an_upload_no_longer_needs(store: Store, bucket: Versity) -> None:
    """The tails of earlier requests go while the upload goes on."""
    upload_id = await start(store, os.urandom(100_000))
    upload = await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=100_000)
    await upload.write(os.urandom(100_000))
    await upload.aclose()
    assert sorted(stored(bucket).values()) == [100_000, 200_000]
    await age(store)
    await collect(store)
    assert list(stored(bucket).values()) == [200_000]
    await assert_known(store, bucket)


async def test_a_deleted_repository(store: Store, bucket: Versity) -> None:
    await push_blob(store, os.urandom(100_000))
    await start(store, os.urandom(100_000))
    await store.delete_repository(REPOSITORY)
    await collect(store, AT_ONCE)
    await assert_known(store, bucket)
    await age(store)
    await collect(store, AT_ONCE)
    assert stored(bucket) == {}


async def test_an_object_that_is_gone_already(store: Store, bucket: Versity) -> None:
    await push_blob(store, os.urandom(100_000))
    await collect(store, AT_ONCE)
    [key] = stored(bucket)
    bucket.path(f"{PREFIX}/{key}").unlink()
    await age(store)
    assert (await collect(store, AT_ONCE)).counts == {"recorded": 1}
    assert await rows(store, "SELECT * FROM objects") == []


async def test_check_finds_what_nobody_knows(store: Store, bucket: Versity) -> None:
    await push_blob(store, os.urandom(100_000))
    assert (await check(store)).findings == []
    bucket.path(f"{PREFIX}/{'0' * 32}").write_bytes(b"stray")
    [finding] = (await check(store)).findings
    assert (finding.kind, finding.what) == ("unlinked bytes", "0" * 32)


async def test_check_finds_what_is_missing(store: Store, bucket: Versity, open_store: Callable[..., Any]) -> None:
    content = os.urandom(100_000)
    digest = await push_blob(store, content)
    [key] = stored(bucket)
    path = bucket.path(f"{PREFIX}/{key}")
    path.write_bytes(content[:-1] + b"x")
    assert [finding.kind for finding in (await check(store, content=True)).findings] == ["blob digest"]
    path.unlink()
    [finding] = (await check(await open_store(), repair=True)).findings
    assert (finding.kind, finding.what, finding.repaired) == ("blob missing", digest, True)
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest)
