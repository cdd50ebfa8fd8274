"""What `ociserver config check --connect` says about a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociserver.store.objects.storage import ObjectStorage
from ociserver.store.objects.trial import try_bucket
from tests.support.bucket import BUCKET, Versity, versity
from tests.support.server import free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versity]:
    with versity(tmp_path_factory.mktemp("bucket")) as store:
        yield store


async def found(bucket: Versity, url: str = f"s3://{BUCKET}/prefix", **options: str) -> list[tuple[str, str]]:
    storage = ObjectStorage(url=url, options=bucket.options() | options)
    return [each async for each in try_bucket(storage, retry_s=0.5)]


async def test_a_bucket_that_can_be_used_stays_empty(bucket: Versity) -> None:
    assert await found(bucket) == [("fact", f"s3://{BUCKET}/prefix can be used; it is new")]
    assert bucket.objects() == {}
    assert bucket.uploads() == []


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"aws_access_key_id": "nobody"}, ["the registry cannot put an object into", "the credentials"]),
        ({"aws_secret_access_key": "wrong-secret"}, ["Check `access-key-id`, `secret-access-key` and `region`"]),
        ({"aws_region": "elsewhere-1"}, ["Correct `region`: the bucket is in another one"]),
        ({"url": "s3://no-such-bucket"}, ["NoSuchBucket", "Create the bucket, or correct `url`, `region` and"]),
        ({"aws_endpoint": f"http://127.0.0.1:{free_port()}"}, ["Correct `endpoint`, and check that the storage runs"]),
        ({"no_such_option": "x"}, ["no_such_option"]),
    ],
)
async def test_a_bucket_that_cannot_be_used(bucket: Versity, changed: dict[str, Any], words: list[str]) -> None:
    ((kind, text),) = await found(bucket, **changed)
    assert kind == "fault"
    for each in words:
        assert each in text
    for secret in (bucket.secret_key, "wrong-secret"):
        assert secret not in text


async def test_a_bucket_that_takes_nothing(bucket: Versity, tmp_path: Path) -> None:
    folder = bucket.path("").resolve()
    assert folder.is_dir()
    (folder / "prefix").write_text("a file where a folder should be")
    try:
        ((kind, text),) = await found(bucket)
    finally:
        (folder / "prefix").unlink()
    assert kind == "fault"
    assert "the registry cannot put an object into" in text
