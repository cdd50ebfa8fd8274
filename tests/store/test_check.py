"""Check: each thing that can be wrong is found, and mended where it can be."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from ociserver.store import Store, checking
from ociserver.store.check import HARMLESS, Checked, Finding, check
from ociserver.store.upload import INLINE_SIZE
from tests.contract.contents import (
    IMAGE,
    REPOSITORY,
    descriptor,
    digest_of,
    image,
    index,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
)
from tests.contract.errors import refused
from tests.store.looking import file_of, rows
from tests.store.test_uploads import start

pytestmark = pytest.mark.anyio

LARGE = 3 * INLINE_SIZE


async def found(store: Store, **options: Any) -> list[tuple[str, str, bool]]:
    """(kind, what, whether it is mended) of each finding."""
    return [(one.kind, one.what, one.repaired) for one in (await check(store, **options)).findings]


async def is_missing(store: Store, digest: str) -> bool:
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest)
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, digest)
    return True


async def test_a_registry_in_use_is_in_order(store: Store) -> None:
    layers = [os.urandom(LARGE), b"small"]
    subject = await push_image(store, "latest", layers=layers)
    await push_image(store, subject=descriptor(IMAGE, subject), annotations={"a": "b"})
    await push_manifest(store, index(subject), "application/vnd.oci.image.index.v1+json", "index")
    await push_manifest(store, b"\x00", "application/x-opaque")
    await start(store, os.urandom(LARGE))
    done: list[tuple[int, int]] = []
    checked = await check(store, content=True, on_progress=lambda now, whole: done.append((now, whole)))
    assert checked.findings == []
    assert (checked.copies, checked.manifests, checked.files) == (3, 4, 2)
    assert checked.bytes_hashed == LARGE + len(b"small") + len(b"{}")
    assert done == sorted(done)
    assert done[-1] == (7, 7)


async def test_an_empty_one_too(store: Store) -> None:
    assert await check(store, content=True) == Checked()


@pytest.mark.parametrize("harm", ["delete", "truncate", "flip"])
async def test_a_file_that_is_spoilt(store: Store, harm: str) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    path = file_of(store, digest)
    if harm == "delete":
        path.unlink()
    elif harm == "truncate":
        os.truncate(path, 100)
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    kind = {"delete": "blob missing", "truncate": "blob size", "flip": "blob digest"}[harm]
    assert await found(store, content=True) == [(kind, digest, False)]
    if harm == "flip":
        assert await found(store) == [], "only reading it tells"
        assert await read_blob(store, digest) != content
    assert await found(store, content=True, repair=True) == [(kind, digest, True)]
    assert await is_missing(store, digest)
    # The next push heals it; until then it stays found.
    (marked,) = (await check(store, content=True)).findings
    assert (marked.what, marked.repaired) == (digest, False)
    assert marked.message.endswith("it is marked, and the next push replaces it")
    await push_blob(store, content)
    assert await read_blob(store, digest) == content
    assert await found(store, content=True) == []


async def test_a_file_that_cannot_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = await push_blob(store, os.urandom(LARGE))

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("ociserver.store.blob_folder.hash_range", fail)
    assert await found(store, content=True) == [("blob digest", digest, False)]


async def test_a_small_blob_that_has_rotted(store: Store) -> None:
    digest = await push_blob(store, b"small")
    rows(store, "UPDATE copies SET content = ?", b"smell")
    assert await found(store) == [("blob digest", digest, False)]
    assert await found(store, repair=True) == [("blob digest", digest, True)]
    assert await is_missing(store, digest)
    await push_blob(store, b"small")
    assert await read_blob(store, digest) == b"small"
    assert await found(store) == []


async def test_a_mark_goes_when_the_file_is_back(store: Store) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    path = file_of(store, digest)
    path.rename(path.with_suffix(".backup"))
    assert ("blob missing", digest, True) in await found(store, repair=True)
    path.with_suffix(".backup").rename(path)
    assert await found(store, repair=True) == [("blob marked", digest, False)], "not read, so not known to be good"
    assert await is_missing(store, digest)
    assert await found(store, repair=True, content=True) == [("blob marked", digest, True)]
    assert await read_blob(store, digest) == content
    assert await found(store, content=True) == []


async def test_a_manifest_that_has_rotted(store: Store) -> None:
    manifest = await push_image(store, "latest", layers=[b"layer"])
    digest = digest_of(manifest)

    def spoil() -> None:
        rows(store, "UPDATE manifests SET content = ?", manifest.replace(b"layer", b"LAYER"))

    spoil()
    assert await found(store) == [("manifest digest", digest, False)]
    await push_manifest(store, manifest, IMAGE)
    assert (await store.get_tag(REPOSITORY, "latest")).content == manifest
    assert await found(store) == []
    spoil()
    assert await found(store, repair=True) == [("manifest digest", digest, True)]
    with refused("MANIFEST_UNKNOWN"):
        await store.get_manifest(REPOSITORY, digest)
    assert await found(store) == []
    await push_manifest(store, manifest, IMAGE, "latest")
    assert (await store.get_tag(REPOSITORY, "latest")).content == manifest


@pytest.mark.parametrize(
    "spoil",
    [
        "DELETE FROM refs WHERE digest = (SELECT MIN(digest) FROM refs)",
        "DELETE FROM refs",
        "UPDATE refs SET digest = 'sha256:other' WHERE digest = (SELECT MIN(digest) FROM refs)",
        "UPDATE manifests SET subject = NULL",
        "UPDATE manifests SET kind = 'opaque'",
    ],
)
async def test_references_that_are_not_recorded(store: Store, spoil: str) -> None:
    subject = digest_of(b"subject")
    manifest = await push_image(store, layers=[b"one", b"two"], subject=descriptor(IMAGE, b"subject"))
    before = rows(store, "SELECT digest FROM refs ORDER BY digest"), rows(store, "SELECT subject, kind FROM manifests")
    rows(store, spoil)
    digest = digest_of(manifest)
    assert await found(store) == [("references", digest, False)]
    assert await found(store, repair=True) == [("references", digest, True)]
    assert await found(store) == []
    after = rows(store, "SELECT digest FROM refs ORDER BY digest"), rows(store, "SELECT subject, kind FROM manifests")
    assert after == before
    assert [one.digest async for one in store.referrers(REPOSITORY, subject)] == [digest]


async def test_a_blob_that_a_manifest_lacks(store: Store) -> None:
    manifest = await push_image(store, layers=[b"layer"])
    await store.delete_blob(REPOSITORY, digest_of(b"layer"))
    checked = await check(store, repair=True)
    assert [(one.kind, one.what, one.repository) for one in checked.findings] == [
        ("dangling", digest_of(manifest), REPOSITORY),
        ("unlinked bytes", digest_of(b"layer"), None),
    ] or [one.kind for one in checked.findings] == ["unlinked bytes", "dangling"]
    assert checked.faults == []
    assert not any(one.repaired for one in checked.findings)


async def test_bytes_that_nothing_links(store: Store) -> None:
    digest = await push_blob(store, os.urandom(LARGE))
    await store.delete_blob(REPOSITORY, digest)
    store.blob_folder.path("ab" * 16).write_bytes(b"orphan")
    checked = await check(store)
    assert sorted((one.kind, one.what) for one in checked.findings) == sorted(
        [("unlinked bytes", digest), ("unlinked bytes", "ab" * 16)]
    )
    assert checked.faults == []


@pytest.mark.parametrize(
    "table, rest",
    [
        ("manifests", ["refs that refer to manifests", "tags that refer to manifests"]),
        ("repositories", []),
        ("copies", []),
    ],
)
async def test_rows_that_refer_to_nothing(store: Store, table: str, rest: list[str]) -> None:
    manifest = await push_image(store, "latest", layers=[b"layer"])
    await start(store, os.urandom(LARGE))
    rows(store, f"DELETE FROM {table}")  # noqa: S608 - without foreign keys, as only another program would
    checked = await check(store)
    assert {one.kind for one in checked.faults} == {"database"}
    assert table in " ".join(one.message for one in checked.faults)
    assert all(any(text in one.message for one in checked.faults) for text in rest)
    checked = await check(store, repair=True)
    assert checked.faults
    assert all(one.repaired for one in checked.faults)
    checked = await check(store)
    assert checked.faults == []
    assert rows(store, "PRAGMA foreign_key_check") == []
    # What was lost can be pushed again.
    assert await push_image(store, "latest", layers=[b"layer"]) == manifest
    assert (await store.get_tag(REPOSITORY, "latest")).content == manifest
    assert await read_blob(store, digest_of(b"layer")) == b"layer"


async def test_harmless_is_what_a_crash_may_leave() -> None:
    assert {"dangling", "unlinked bytes"} == HARMLESS
    assert Checked(findings=[Finding("unlinked bytes", "x", None, "")]).faults == []


# While a server is running


async def test_what_changes_while_it_is_checked_is_no_finding(store: Store, other: Store) -> None:
    contents = [os.urandom(LARGE) for _ in range(20)]
    stop = asyncio.Event()

    async def work() -> None:
        while not stop.is_set():
            manifests = [await push_image(other, f"tag-{n}", layers=[content]) for n, content in enumerate(contents)]
            for manifest, content in zip(manifests, contents, strict=True):
                await other.delete_manifest(REPOSITORY, digest_of(manifest))
                await other.delete_blob(REPOSITORY, digest_of(content))

    worker = asyncio.ensure_future(work())
    for _ in range(10):
        assert (await check(store, content=True, repair=True)).faults == []
        await asyncio.sleep(0)
    stop.set()
    await worker


async def test_a_copy_that_is_healed_while_it_is_judged(store: Store) -> None:
    """The verdict is about a file that is not the copy's any more: the mark does not hit the new one."""
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    os.truncate(file_of(store, digest), 10)
    ((copy_id, key),) = rows(store, "SELECT id, key FROM copies")
    await push_blob(store, content)
    await store.database.write(lambda: checking.mark(copy_id, key, bad=True))
    assert await read_blob(store, digest) == content


async def test_a_manifest_that_is_healed_while_it_is_judged(store: Store) -> None:
    manifest = await push_image(store, "latest")
    ((manifest_id,),) = rows(store, "SELECT id FROM manifests")
    await store.database.write(lambda: checking.delete_bad_manifest(manifest_id, b"what it was when it was read"))
    assert (await store.get_tag(REPOSITORY, "latest")).content == manifest


async def test_a_manifest_that_is_gone_while_its_references_are_recorded(store: Store) -> None:
    from ociserver._core import read_manifest

    info = read_manifest(image(b"{}"), IMAGE)
    await store.database.write(lambda: checking.record(77, 77, image(b"{}"), info))
    assert rows(store, "SELECT * FROM refs") == []
