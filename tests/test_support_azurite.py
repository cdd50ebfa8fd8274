"""That Azurite tells what it really holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContainerClient

from tests.support.azurite import Azurite, azurite
from tests.support.bucket import BUCKET, Multipart
from tests.support.counted import counted


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with azurite(tmp_path_factory.mktemp("azurite")) as store:
        yield store


def test_what_is_stored_and_deleted_and_truncated(store: Azurite) -> None:
    for key in ("a/stays", "a/gone", "a/short"):
        store.container.upload_blob(key, b"content")
    store.delete("a/gone")
    store.truncate("a/short", 3)
    assert store.objects() == {"a/stays": 7, "a/short": 3}
    with pytest.raises(ResourceNotFoundError):
        store.container.download_blob("a/gone")


def test_parts_are_seen_until_they_are_the_content(store: Azurite, tmp_path: Path) -> None:
    with counted(store.port, tmp_path) as proxy:
        options = store.options(proxy.port)
        through = ContainerClient(options["azure_endpoint"], BUCKET, credential=options["azure_storage_account_key"])
        blob = through.get_blob_client("large")
        blob.stage_block("1", b"first")
        blob.stage_block("2", b"last")
        assert store.uploads() == [Multipart("large", "", {1: 5, 2: 4})]
        assert "large" not in store.objects()
        blob.commit_block_list([BlobBlock("1"), BlobBlock("2")])
        assert store.uploads() == []
        assert store.objects()["large"] == 9
        assert proxy.operations() == Counter({"put part": 2, "complete multipart": 1})


def test_it_starts_again_with_its_contents(store: Azurite) -> None:
    store.container.upload_blob("kept", b"content")
    store.process.stop()
    store.process.start()
    assert store.objects()["kept"] == 7
