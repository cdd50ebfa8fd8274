"""What clients get while the bucket does not answer, or refuses the registry: 503, and soon. Other requests go on."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import pytest
from minio import Minio

from ociserver import Handler, Store
from ociserver._core import digest_of
from ociserver.store.objects import calls
from tests.contract.contents import REPOSITORY, push_blob, read_blob
from tests.handler.driver import Reply, request
from tests.store.objects.conftest import MakeStore
from tests.store.objects.looking import PART
from tests.support.bucket import BUCKET, REGION, Versity
from tests.support.toxic import Toxic, toxic

pytestmark = [
    pytest.mark.anyio,
    # The database has no part in it.
    pytest.mark.parametrize("make_store", ["sqlite"], indirect=True),
]

WAIT_S: Final = 0.3
"""Seconds instead of each limit."""

ANSWER_S: Final = 2.0
"""Seconds in which a loaded machine answers, so that a bucket that does not is one that hangs."""

REACHED_S: Final = 20.0
"""Seconds in which a loaded machine notices a change."""

CONTENT: Final = os.urandom(20_000)
READ: Final = ("s3:GetObject", "s3:ListBucket")
WRITE: Final = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
ANONYMOUS: Final = {"skip_signature": "true"}


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLOW_S", "PROBE_S"):
        monkeypatch.setattr(calls, name, WAIT_S)
    monkeypatch.setattr(calls, "PROBE_WAIT_S", ANSWER_S)


@pytest.fixture
def network(bucket: Versity, tmp_path: Path) -> Iterator[Toxic]:
    with toxic(bucket.port, tmp_path / "network") as network:
        yield network


@pytest.fixture
async def beside(make_store: MakeStore, network: Toxic) -> AsyncIterator[tuple[Store, Handler]]:
    """A store whose bucket is behind the bad network."""
    store = make_store(port=network.port, retry_s=REACHED_S)
    async with Handler(store) as handler:
        assert (await push(handler, CONTENT)).status == 201
        yield store, handler


async def push(handler: Handler, content: bytes) -> Reply:
    return await request(handler, "POST", f"/v2/r/blobs/uploads/?digest={digest_of(content)}", content)


async def pull(handler: Handler, method: str = "GET") -> Reply:
    return await request(handler, method, f"/v2/r/blobs/{digest_of(CONTENT)}")


async def until(store: Store, *, is_reachable: bool) -> None:
    deadline = time.monotonic() + REACHED_S
    while (store.unavailable is None) != is_reachable:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def check_refused(*replies: Reply) -> None:
    """503, and when to come back."""
    assert [(reply.status, reply.all("Retry-After")) for reply in replies] == [(503, ["10"])] * len(replies)


async def test_a_bucket_that_hangs(network: Toxic, beside: tuple[Store, Handler]) -> None:
    """Only requests that meet it wait. Later ones are refused before these have ended, and it heals."""
    store, registry = beside
    with network.hanging():
        waiting = asyncio.ensure_future(push(registry, os.urandom(20_000)))
        await until(store, is_reachable=False)
        for _ in range(3):
            check_refused(await pull(registry), await push(registry, os.urandom(20_000)))
            assert (await pull(registry, "HEAD")).status == 200
            assert (await push(registry, os.urandom(20))).status == 201
        assert not waiting.done(), "it waits for 30 s"
        waiting.cancel()
        await asyncio.wait([waiting])
    await until(store, is_reachable=True)
    assert (await pull(registry)).body == CONTENT
    assert (await push(registry, os.urandom(20_000))).status == 201


async def test_what_has_begun_goes_on(network: Toxic, beside: tuple[Store, Handler]) -> None:
    """A short outage costs an upload and a download nothing, also if others are refused meanwhile."""
    store, registry = beside
    content = os.urandom(PART + 20_000)
    upload = await store.push_blob_chunked(REPOSITORY)
    await upload.write(content)
    with network.down():
        waiting = asyncio.ensure_future(pull(registry))
        await until(store, is_reachable=False)
        committing = asyncio.ensure_future(upload.commit(digest_of(content)))
        check_refused(await pull(registry), await push(registry, os.urandom(20_000)))
    assert (await waiting).body == CONTENT
    await committing
    await upload.aclose()
    await until(store, is_reachable=True)
    assert await read_blob(store, digest_of(content)) == content


async def test_a_reader_that_is_cancelled_while_it_waits_disturbs_no_other(
    network: Toxic, beside: tuple[Store, Handler]
) -> None:
    store, _ = beside
    content = os.urandom(3_000_000)
    digest = await push_blob(store, content)
    with network.bandwidth(100_000):
        reading = asyncio.ensure_future(read_blob(store, digest))
        async with aclosing(await store.get_blob(REPOSITORY, digest)) as reader:
            waiting = asyncio.ensure_future(anext(aiter(reader)))
            await asyncio.sleep(WAIT_S)
            assert not waiting.done()
            assert not reading.done()
            waiting.cancel()
            await asyncio.wait([waiting])
    assert await reading == content
    await until(store, is_reachable=True)
    assert await read_blob(store, digest) == content


async def test_a_slow_call_refuses_nobody(
    network: Toxic, beside: tuple[Store, Handler], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, registry = beside
    monkeypatch.setattr(calls, "PROBE_WAIT_S", REACHED_S)
    with network.latency(2 * WAIT_S):
        for _ in range(3):
            assert (await pull(registry)).body == CONTENT
            assert store.unavailable is None


async def test_a_bucket_that_takes_nothing_is_read_all_the_same(bucket: Versity, make_store: MakeStore) -> None:
    """All nodes have the same credentials, so another one could do no more."""
    allow(bucket, *READ, *WRITE)
    store = make_store(options={**bucket.options(), **ANONYMOUS})
    async with Handler(store) as registry:
        assert (await push(registry, CONTENT)).status == 201
        allow(bucket, *READ)
        for _ in range(3):
            reply = await push(registry, os.urandom(20_000))
            check_refused(reply)
            assert "refuses the registry: its operator has to check the credentials" in reply.message
            assert store.unavailable is None
            await asyncio.sleep(WAIT_S)
            assert store.unavailable is None
            assert (await pull(registry)).body == CONTENT
        allow(bucket, *WRITE)
        check_refused(await pull(registry))
        await until(store, is_reachable=False)
        assert store.unavailable == "the registry's bucket refuses the registry"
        allow(bucket, *READ, *WRITE)
        await until(store, is_reachable=True)
        assert (await push(registry, os.urandom(20_000))).status == 201


def allow(bucket: Versity, *actions: str) -> None:
    """What clients without credentials may do."""
    client = Minio(
        f"127.0.0.1:{bucket.port}",
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
        secure=False,
        region=REGION,
    )
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": "*"}
    own, inner = f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"
    statements = [
        {**statement, "Action": action, "Resource": own if action == "s3:ListBucket" else inner} for action in actions
    ]
    client.set_bucket_policy(BUCKET, json.dumps({"Version": "2012-10-17", "Statement": statements}))
