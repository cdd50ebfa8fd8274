"""Deleting a repository with all that it holds, and the folder as a whole."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path

import pytest

from ociserver.store import Store, StoreError
from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from ociserver.store.inventory import Inventory, inventory
from ociserver.store.upload import INLINE_SIZE
from tests.contract.contents import REPOSITORY, digest_of, push_blob, push_image, read_blob
from tests.contract.errors import refused
from tests.store.looking import age, files, rows
from tests.store.test_uploads import resume, start

pytestmark = pytest.mark.anyio

LARGE = 3 * INLINE_SIZE


async def test_a_repository_goes_with_all_that_it_holds(store: Store) -> None:
    shared, own = os.urandom(LARGE), os.urandom(LARGE)
    await push_image(store, "latest", "other", layers=[shared, own])
    kept = await push_image(store, "latest", layers=[shared], repository="kept")
    upload_id = await start(store, os.urandom(LARGE))
    counted = await store.database.read(inventory(REPOSITORY))
    assert counted == Inventory(tags=2, manifests=1, uploads=1, blobs=3, own_blobs=1, own_bytes=LARGE)
    await store.delete_repository(REPOSITORY)
    assert [name async for name in store.repositories()] == ["kept"]
    for ask in (
        store.get_tag(REPOSITORY, "latest"),
        store.resolve_blob(REPOSITORY, digest_of(own)),
        store.delete_repository(REPOSITORY),
        store.database.read(inventory(REPOSITORY)),
    ):
        with refused("NAME_UNKNOWN"):
            await ask
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, upload_id)
    assert (await store.get_tag("kept", "latest")).content == kept
    assert await read_blob(store, digest_of(shared), repository="kept") == shared
    age(store, 3600)
    report = await collect(store, Policy(grace_s=0))
    assert report.counts == {"unlinked": 1, "unknown": 1}  # its own blob, and the upload's file
    assert len(files(store)) == 1
    assert (await check(store, content=True)).findings == []


async def test_a_writer_in_a_repository_that_goes(store: Store) -> None:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        content = os.urandom(LARGE)
        await upload.write(content)
        await store.delete_repository(REPOSITORY)
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await upload.commit(digest_of(content))
    assert files(store) == {}
    await push_blob(store, content)
    assert await read_blob(store, digest_of(content)) == content


async def test_immutable_tags_keep_their_repository(folder: Path) -> None:
    async with Store(folder, immutable_tags=True) as store:
        await push_image(store, "latest")
        await push_image(store, repository="untagged")
        with refused("DENIED"):
            await store.delete_repository(REPOSITORY)
        await store.delete_repository("untagged")
        assert [name async for name in store.repositories()] == [REPOSITORY]


# The folder


async def test_a_store_can_be_opened_again(store: Store) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    await store.__aexit__(None, None, None)
    with pytest.raises(RuntimeError, match="not open"):
        await store.resolve_blob(REPOSITORY, digest)
    await store.__aenter__()
    assert await read_blob(store, digest) == content


async def test_a_database_that_is_missing_beside_blobs(folder: Path) -> None:
    """Taken for an empty registry, its blobs would be files that nothing knows, and collected."""
    async with Store(folder) as store:
        await push_blob(store, os.urandom(LARGE))
    (folder / "registry.db").rename(folder / "elsewhere.db")
    with pytest.raises(StoreError, match=r"registry\.db is missing"):
        await Store(folder).__aenter__()
    assert not (folder / "registry.db").exists()
    (folder / "elsewhere.db").rename(folder / "registry.db")
    async with Store(folder) as store:
        assert (await collect(store)).counts == {}


async def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match="is not a folder"):
            await Store(path).__aenter__()


async def test_what_did_not_open_holds_nothing(folder: Path) -> None:
    async with Store(folder) as store:
        await push_blob(store, b"x")
        rows(store, "PRAGMA user_version = 99")
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(StoreError, match="newer"):
            await Store(folder).__aenter__()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # of the listing itself
