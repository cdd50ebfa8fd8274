"""Collection: what goes, what stays, and when."""

from __future__ import annotations

import json
import os
from contextlib import aclosing
from typing import Any

import pytest

from ociserver.store import Store, StoreError
from ociserver.store.blobs import HeldError
from ociserver.store.check import check
from ociserver.store.collect import Freed, Policy, Report, collect
from ociserver.store.upload import INLINE_SIZE
from tests.contract.contents import (
    IMAGE,
    INDEX,
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
from tests.store.looking import age, file_of, files, rows
from tests.store.test_uploads import finish, resume, start

pytestmark = pytest.mark.anyio

HOUR = 3600.0
DAY = 24 * HOUR
LARGE = 3 * INLINE_SIZE
NOW = Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0)

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


async def freed(store: Store, policy: Policy | None = None, **options: Any) -> dict[str, set[str]]:
    """What a collection frees, by reason."""
    seen: dict[str, set[str]] = {}

    def note(freed: Freed) -> None:
        seen.setdefault(freed.reason, set()).add(freed.what)

    report = await collect(store, policy, on_freed=note, **options)
    assert {reason: len(what) for reason, what in seen.items()} == report.counts
    return seen


async def manifests_of(store: Store) -> set[str]:
    return {row[0] for row in rows(store, "SELECT digest FROM manifests")}


# The two clocks


@pytest.mark.parametrize("size", [10, LARGE])
async def test_an_unreferenced_blob_goes_in_two_steps(store: Store, size: int) -> None:
    digest = await push_blob(store, os.urandom(size))
    assert await freed(store) == {}
    age(store, DAY - HOUR)
    assert await freed(store) == {}, "a day has not passed yet"
    age(store, HOUR + 1)
    assert await freed(store) == {"unreferenced": {digest}}
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest)
    assert rows(store, "SELECT digest FROM copies") == [(digest,)]
    age(store, 500)
    assert await freed(store) == {}
    age(store, 101)
    assert await freed(store) == {"unlinked": {digest}}
    assert rows(store, "SELECT digest FROM copies") == []
    assert files(store) == {}


async def test_all_at_once_with_no_time_to_wait(store: Store) -> None:
    digest = await push_blob(store, os.urandom(LARGE))
    upload_id = await start(store, os.urandom(LARGE))
    store.blob_folder.path("ff" * 16).write_bytes(b"nobody's")
    age(store, 2 * HOUR)
    report = await collect(store, NOW)
    assert report.counts == {"unreferenced": 1, "unlinked": 1, "abandoned": 1, "unknown": 1}
    assert report.sizes == {"unreferenced": LARGE, "unlinked": LARGE, "abandoned": LARGE, "unknown": 8}
    assert report.freed_bytes == 2 * LARGE + 8
    assert files(store) == {}
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, digest)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, upload_id)


async def test_it_tells_how_far_it_is(store: Store) -> None:
    await push_image(store, "latest", layers=[os.urandom(LARGE), b"small"])
    await push_blob(store, os.urandom(LARGE))
    await start(store, os.urandom(LARGE))
    age(store, 2 * DAY)
    told: list[tuple[int, int]] = []
    await collect(store, on_progress=lambda done, total: told.append((done, total)))
    # Four links and an upload are old enough, and there are 256 folders.
    assert {total for _, total in told} == {261}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (261, 261)


async def test_a_file_whose_name_is_no_key_is_left_alone(store: Store) -> None:
    stray = store.blob_folder.path("ab" * 16).with_name("lost+found")
    stray.write_bytes(b"somebody's")
    assert await freed(store, NOW) == {}
    assert stray.exists()


async def test_a_dry_run_changes_nothing(store: Store) -> None:
    digest = await push_blob(store, os.urandom(LARGE))
    upload_id = await start(store, b"bytes")
    await push_image(store, layers=[b"of an untagged image"])
    age(store, 10 * DAY)
    tables = ("copies", "links", "manifests", "uploads")
    before = [rows(store, f"SELECT * FROM {table}") for table in tables], files(store)  # noqa: S608
    everything = Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0, delete_untagged_after_s=0)
    would = await freed(store, everything, dry_run=True)
    assert would["unreferenced"] == {digest}
    assert would["abandoned"] == {upload_id}
    assert len(would["untagged"]) == 1
    assert ([rows(store, f"SELECT * FROM {table}") for table in tables], files(store)) == before  # noqa: S608


@pytest.mark.parametrize("how", ["push", "mount", "head", "chunks"])
async def test_what_is_used_again_begins_anew(store: Store, how: str) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    await push_blob(store, content, "source")
    age(store, 3 * DAY)
    if how == "push":
        await push_blob(store, content)
    elif how == "mount":
        await store.mount_blob("source", REPOSITORY, digest)
    elif how == "head":
        await store.resolve_blob(REPOSITORY, digest)
    else:
        await finish(store, await start(store, content), b"", digest)
    assert await freed(store) == {"unreferenced": {digest}}  # of the source
    assert await read_blob(store, digest) == content


async def test_a_read_does_not_renew(store: Store) -> None:
    """A client that pulls has a manifest, which keeps the blob. Otherwise each read would write."""
    digest = await push_blob(store, b"content")
    age(store, 3 * DAY)
    await read_blob(store, digest)
    assert await freed(store) == {"unreferenced": {digest}}


async def test_a_copy_that_is_linked_again_in_its_grace(store: Store) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    path = file_of(store, digest)
    await store.delete_blob(REPOSITORY, digest)
    age(store, 599)
    assert await freed(store) == {}
    await push_blob(store, content, "elsewhere")
    age(store, DAY)
    assert await freed(store) == {}
    assert file_of(store, digest) == path
    # And its grace begins anew when that link goes.
    await store.delete_blob("elsewhere", digest)
    assert await freed(store) == {}
    age(store, 601)
    assert await freed(store) == {"unlinked": {digest}}
    assert files(store) == {}


async def test_a_copy_has_a_link_in_each_repository(store: Store) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    await store.mount_blob(REPOSITORY, "kept", digest)
    manifest = image(b"{}", content)
    await push_blob(store, b"{}", "kept")
    await push_manifest(store, manifest, IMAGE, "latest", repository="kept")
    age(store, 3 * DAY)
    assert await freed(store) == {"unreferenced": {digest}}
    assert await read_blob(store, digest, repository="kept") == content
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, digest)


# References


def schema_1(*layers: bytes) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 1,
            "name": REPOSITORY,
            "tag": "latest",
            "fsLayers": [{"blobSum": digest_of(layer)} for layer in layers],
            "history": [],
        }
    ).encode()


def docker_image(config: bytes, *layers: bytes) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": descriptor("application/vnd.docker.container.image.v1+json", config),
            "layers": [descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", layer) for layer in layers],
        }
    ).encode()


def unknown_json(*layers: bytes) -> bytes:
    return json.dumps({"parts": {"deep": [[descriptor("application/x-part", layer)] for layer in layers]}}).encode()


@pytest.mark.parametrize(
    "media_type, manifest",
    [
        (IMAGE, image(b"{}", b"one", b"two")),
        (DOCKER_MANIFEST, docker_image(b"{}", b"one", b"two")),
        (DOCKER_SCHEMA_1, schema_1(b"{}", b"one", b"two")),
        ("application/vnd.example+json", unknown_json(b"{}", b"one", b"two")),
    ],
    ids=["oci", "docker", "docker schema 1", "unknown json"],
)
async def test_what_a_manifest_references_stays(store: Store, media_type: str, manifest: bytes) -> None:
    kept = {await push_blob(store, content) for content in (b"{}", b"one", b"two")}
    extra = await push_blob(store, b"three")
    await push_manifest(store, manifest, media_type)
    age(store, 3 * DAY)
    assert await freed(store) == {"unreferenced": {extra}}
    for digest in kept:
        assert (await store.resolve_blob(REPOSITORY, digest)).digest == digest
    await store.delete_manifest(REPOSITORY, digest_of(manifest))
    age(store, 3 * DAY)
    assert (await freed(store))["unreferenced"] == kept


async def test_another_repository_references_nothing_here(store: Store) -> None:
    await push_image(store, "latest", layers=[b"layer"], repository="elsewhere")
    digest = await push_blob(store, b"layer")
    age(store, 3 * DAY)
    assert await freed(store) == {"unreferenced": {digest}}


async def test_where_one_cannot_be_read_everything_stays(store: Store) -> None:
    """Its references are not known. Other repositories are not affected."""
    kept = await push_blob(store, b"perhaps a part of it")
    await push_manifest(store, b"\x00not json", "application/x-opaque")
    gone = await push_blob(store, b"unreferenced", "elsewhere")
    age(store, 3 * DAY)
    assert await freed(store) == {"unreferenced": {gone}}
    await store.delete_manifest(REPOSITORY, digest_of(b"\x00not json"))
    assert (await freed(store))["unreferenced"] == {kept}


async def test_a_blob_between_its_push_and_its_manifest(store: Store) -> None:
    """Collected without pause, with no grace: what is younger than the one clock stays."""
    policy = Policy(unreferenced_after_s=60, grace_s=0, upload_timeout_s=0)
    store.renew_after_s = 0
    blobs = [os.urandom(LARGE), b"{}", b"layer"]
    for blob in blobs:
        await push_blob(store, blob)
        age(store, 19)
        assert await freed(store, policy) == {}
    await push_manifest(store, image(b"{}", b"layer", blobs[0]), IMAGE, "latest")
    age(store, DAY)
    assert await freed(store, policy) == {}


# Uploads


async def test_an_abandoned_upload_ends(store: Store) -> None:
    old, young = await start(store, os.urandom(LARGE)), ""
    age(store, DAY + 1)
    young = await start(store, os.urandom(LARGE))
    assert await freed(store) == {"abandoned": {old}}
    assert set(files(store)) == {young}
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, old)


async def test_an_upload_that_goes_on_is_not_abandoned(store: Store) -> None:
    upload_id = await start(store, os.urandom(LARGE))
    age(store, DAY + 1)
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(b"more")
    assert await freed(store) == {}


async def test_an_upload_that_somebody_writes_to_is_not_abandoned(store: Store, other: Store) -> None:
    """Also a slow one: nothing was recorded for days, but a request has the lock on the file."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    async with aclosing(await resume(other, upload_id)) as upload:
        await upload.write(b"!")
        age(store, 3 * DAY)
        assert await freed(store) == {}
        await upload.commit(digest_of(content + b"!"))
    assert await read_blob(store, digest_of(content + b"!")) == content + b"!"


async def test_an_upload_whose_file_alone_tells_that_it_goes_on_is_not_abandoned(store: Store) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    age(store, DAY + 1)
    before = rows(store, "SELECT touched, size FROM uploads")
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(b"1")
    # As if it had not been recorded, as most chunks are not.
    rows(store, "UPDATE uploads SET touched = ?, size = ?", *before[0])
    assert await freed(store) == {}
    age(store, DAY + 1)
    assert await freed(store) == {"abandoned": {upload_id}}


async def test_nobody_writes_to_an_upload_while_it_is_ended(store: Store, other: Store) -> None:
    upload_id = await start(store, os.urandom(LARGE))
    with store.blobs.closed_to_writers(upload_id) as status:
        assert status
        assert status.size == LARGE
        assert not other.blobs.is_held(upload_id), "whoever only asks is in nobody's way"
        async with aclosing(await resume(other, upload_id)) as upload:
            with refused("RANGE_INVALID"):
                await upload.write(b"x")
    async with aclosing(await resume(other, upload_id)) as upload:
        await upload.write(b"x")
        with pytest.raises(HeldError), store.blobs.closed_to_writers(upload_id):
            pass
    with store.blobs.closed_to_writers("0" * 32) as status:
        assert status is None


async def test_what_an_abandoned_upload_frees_is_its_file(store: Store) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(content)
    assert rows(store, "SELECT size FROM uploads") == [(LARGE,)]
    age(store, DAY + 1)
    assert (await collect(store)).sizes == {"abandoned": 2 * LARGE}


async def test_an_upload_that_takes_long_is_noted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.write(b"little")
        age(store, DAY + 1)
        upload._touched -= 61
        await upload.write(b"more")
        ((touched,),) = rows(store, "SELECT unixepoch() - touched FROM uploads")
        assert touched < 60


async def test_a_commit_of_an_upload_that_was_ended_fails(store: Store, other: Store) -> None:
    """Also if its file was created again meanwhile. Nothing of it stays."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    late = await resume(other, upload_id)
    age(store, DAY + 1)
    assert await freed(store) == {"abandoned": {upload_id}}
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await late.commit(digest_of(content))
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await late.write(b"more")
    await late.aclose()
    assert files(store) == {}


async def test_the_file_of_a_living_upload_is_nobodys_orphan(store: Store) -> None:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        content = os.urandom(LARGE)
        await upload.write(content)
        assert await freed(store, NOW) == {}
        await upload.commit(digest_of(content))
    assert await freed(store) == {}
    assert await read_blob(store, digest_of(content)) == content


# Manifests, by policy only


async def test_manifests_stay_without_a_policy(store: Store) -> None:
    manifest = await push_image(store, layers=[b"layer"])
    age(store, 1000 * DAY)
    assert await freed(store) == {}
    assert await manifests_of(store) == {digest_of(manifest)}


UNTAGGED = Policy(delete_untagged_after_s=7 * DAY)


async def test_untagged_manifests_go(store: Store) -> None:
    old = await push_image(store, layers=[b"old"])
    tagged = await push_image(store, "latest", layers=[b"tagged"])
    age(store, 7 * DAY + 1)
    young = await push_image(store, layers=[b"young"])
    assert (await freed(store, UNTAGGED))["untagged"] == {digest_of(old)}
    assert await manifests_of(store) == {digest_of(tagged), digest_of(young)}


async def test_pushing_it_again_begins_anew(store: Store) -> None:
    manifest = await push_image(store)
    age(store, 8 * DAY)
    await push_manifest(store, manifest, IMAGE)
    assert "untagged" not in await freed(store, UNTAGGED)


@pytest.mark.parametrize("leave", ["move", "delete"])
async def test_the_age_counts_from_when_the_last_tag_left(store: Store, leave: str) -> None:
    """A client may be in the middle of pulling what `latest` was a second ago, however old that is."""
    old = await push_image(store, "latest", "also", layers=[b"old"])
    age(store, 8 * DAY)
    for tag in ("also", "latest"):
        if leave == "move":
            await push_image(store, tag, layers=[b"new"])
        else:
            await store.delete_tag(REPOSITORY, tag)
        assert "untagged" not in await freed(store, UNTAGGED)
    age(store, 7 * DAY - 60)
    assert "untagged" not in await freed(store, UNTAGGED)
    age(store, 120)
    assert (await freed(store, UNTAGGED))["untagged"] == {digest_of(old)}


async def test_asking_for_a_manifest_begins_anew(store: Store, other: Store) -> None:
    """A client that got 200 for a HEAD can still tag the manifest. Only a HEAD after a long time writes."""
    digest = digest_of(await push_image(store))
    for asked in (store, other):
        age(store, 8 * DAY)
        for _ in range(2):
            assert (await asked.resolve_manifest(REPOSITORY, digest)).digest == digest
        assert "untagged" not in await freed(store, UNTAGGED)
    before = store.database.version()
    await store.resolve_manifest(REPOSITORY, digest)
    assert store.database.version() == before


async def test_a_manifest_that_is_asked_for_without_waiting_begins_anew(store: Store) -> None:
    digest = digest_of(await push_image(store))
    await store.resolve_manifest(REPOSITORY, digest)
    assert store.read_nowait("manifest_head", REPOSITORY, digest) is not None
    age(store, 8 * DAY)
    # A second look: the first one sees that something was committed.
    await store.get_manifest(REPOSITORY, digest)
    assert store.read_nowait("manifest_head", REPOSITORY, digest) is None, "left to what renews it"
    await store.resolve_manifest(REPOSITORY, digest)
    assert "untagged" not in await freed(store, UNTAGGED)


async def test_a_manifest_that_goes_while_it_is_asked_for(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ociserver.store.reading.RENEWAL_WAIT_S", 30)  # longer than the collection takes
    digest = digest_of(await push_image(store))
    age(store, 8 * DAY)

    async def collect_it() -> None:
        assert (await freed(other, UNTAGGED))["untagged"] == {digest}

    store.database.write = Meanwhile(store, "renew_manifest", collect_it).write  # type: ignore[method-assign]
    with refused("MANIFEST_UNKNOWN"):
        await store.resolve_manifest(REPOSITORY, digest)


async def test_nothing_is_too_young_for_no_age(store: Store) -> None:
    """What is pushed and deleted in the same second is freed by the collection that follows (docs/faults.md)."""
    layer = os.urandom(LARGE)
    for deletion in ("tag", "digest"):
        manifest = await push_image(store, "latest", layers=[layer])
        if deletion == "tag":
            await store.delete_tag(REPOSITORY, "latest")
        await store.delete_manifest(REPOSITORY, digest_of(manifest))
        report = await collect(store, Policy(unreferenced_after_s=0, grace_s=0))
        # The config is so small that it was in the database, whose pages are used again.
        assert report.freed_bytes == LARGE
        assert files(store) == {}


async def test_ages_are_what_the_policy_says(store: Store) -> None:
    """No hidden margin: neither an hour of the HEADs, nor a second of the clock."""
    digest = await push_blob(store, os.urandom(LARGE))
    age(store, 59)
    policy = Policy(unreferenced_after_s=60, grace_s=60)
    assert await freed(store, policy) == {}
    age(store, 2)
    assert await freed(store, policy) == {"unreferenced": {digest}}
    age(store, 59)
    assert await freed(store, policy) == {}
    age(store, 2)
    assert await freed(store, policy) == {"unlinked": {digest}}


@pytest.mark.parametrize("kind", [INDEX, DOCKER_LIST])
async def test_children_of_an_index_stay_as_long_as_it_does(store: Store, kind: str) -> None:
    child = await push_image(store, layers=[b"child"])
    grandchild = await push_image(store, layers=[b"grandchild"])
    inner = index(grandchild)
    await push_manifest(store, inner, INDEX)
    entries = [descriptor(IMAGE, child), descriptor(INDEX, inner)]
    outer = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    await push_manifest(store, outer, kind, "latest")
    everything = {digest_of(manifest) for manifest in (child, grandchild, inner, outer)}
    age(store, 8 * DAY)
    assert "untagged" not in await freed(store, UNTAGGED)
    await store.delete_tag(REPOSITORY, "latest")
    age(store, 8 * DAY)
    gone: set[str] = set()
    for _ in range(3):
        # From the top: each level is held by the one above it until that has gone.
        gone |= (await freed(store, UNTAGGED)).get("untagged", set())
    assert gone == everything
    assert await manifests_of(store) == set()


async def test_referrers_stay_as_long_as_their_subject(store: Store) -> None:
    subject = await push_image(store, "latest", layers=[b"subject"])
    signature = await push_image(store, layers=[b"signature"], subject=descriptor(IMAGE, subject))
    of_signature = await push_image(store, layers=[b"of it"], subject=descriptor(IMAGE, signature))
    orphan = await push_image(store, layers=[b"orphan"], subject=descriptor(IMAGE, b"never pushed"))
    age(store, 8 * DAY)
    assert (await freed(store, UNTAGGED))["untagged"] == {digest_of(orphan)}
    await store.delete_manifest(REPOSITORY, digest_of(subject))
    gone: set[str] = set()
    for _ in range(2):
        gone |= (await freed(store, UNTAGGED)).get("untagged", set())
    assert gone == {digest_of(signature), digest_of(of_signature)}


async def test_in_the_end_nothing_is_left(store: Store) -> None:
    """Everything that hangs on an untagged manifest follows it, step by step, and the files go."""
    layers = [os.urandom(LARGE), os.urandom(10)]
    await push_image(store, "latest", layers=layers)
    await store.delete_tag(REPOSITORY, "latest")
    age(store, 30 * DAY)
    await collect(store, Policy(unreferenced_after_s=0, grace_s=0, delete_untagged_after_s=0))
    for table in ("manifests", "refs", "tags", "links", "copies"):
        assert rows(store, f"SELECT * FROM {table}") == [], table  # noqa: S608
    assert files(store) == {}
    assert (await check(store, content=True)).findings == []


# A client uses a content after collection has read it, and before collection deletes it


class Meanwhile:
    """Does something after collection has looked, and before it deletes."""

    def __init__(self, store: Store, kind: str, deed: Any) -> None:
        self._store, self._kind, self._deed = store, kind, deed
        self._write = store.database.write

    async def write(self, make: Any, **how: Any) -> Any:
        if make().__name__ == self._kind:
            self._store.database.write = self._write  # type: ignore[method-assign]
            await self._deed()
        return await self._write(make, **how)


async def collect_while(store: Store, kind: str, deed: Any, policy: Policy) -> Report:
    store.database.write = Meanwhile(store, kind, deed).write  # type: ignore[method-assign]
    return await collect(store, policy)


@pytest.mark.parametrize("how", ["push", "mount", "head", "manifest"])
async def test_a_blob_that_is_used_just_before_it_is_unlinked(store: Store, how: str) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    await push_blob(store, b"{}")
    await push_image(store, "keeps", layers=[content], repository="source")
    age(store, 3 * DAY)

    async def use() -> None:
        if how == "push":
            await push_blob(store, content)
        elif how == "mount":
            await store.mount_blob("source", REPOSITORY, digest)
        elif how == "head":
            await store.resolve_blob(REPOSITORY, digest)
        else:
            await push_manifest(store, image(b"{}", content), IMAGE)

    await collect_while(store, "unlink_unreferenced", use, Policy())
    assert await read_blob(store, digest) == content


@pytest.mark.parametrize("how", ["push", "chunks"])
async def test_a_copy_that_is_linked_just_before_it_is_deleted(store: Store, how: str) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    await store.delete_blob(REPOSITORY, digest)
    age(store, DAY)

    async def push() -> None:
        if how == "push":
            await push_blob(store, content)
        else:
            await finish(store, await start(store, content), b"", digest)

    report = await collect_while(store, "drop_copy", push, Policy())
    assert report.counts == {}
    assert await read_blob(store, digest) == content
    assert (await check(store, content=True)).findings == []


async def test_a_content_that_is_pushed_while_its_old_file_is_deleted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new copy has a key of its own: deleting the old one cannot hit it."""
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    old = file_of(store, digest)
    await store.delete_blob(REPOSITORY, digest)
    age(store, DAY)
    delete = store.blobs.delete

    async def push_first(keys: Any) -> None:
        monkeypatch.undo()
        await push_blob(store, content)
        await delete(keys)

    monkeypatch.setattr(store.blobs, "delete", push_first)
    assert (await collect(store)).counts == {"unlinked": 1}
    assert not old.exists()
    assert file_of(store, digest) != old
    assert await read_blob(store, digest) == content


async def test_an_upload_that_goes_on_just_before_it_is_ended(store: Store) -> None:
    upload_id = await start(store, b"little")
    age(store, DAY + 1)

    async def append() -> None:
        async with aclosing(await resume(store, upload_id)) as upload:
            await upload.write(b"more")

    assert (await collect_while(store, "drop_upload", append, Policy())).counts == {}
    await finish(store, upload_id, b"", digest_of(b"littlemore"))


async def test_an_upload_that_would_go_on_while_it_is_ended(store: Store) -> None:
    """Nothing is acknowledged that goes with it."""
    upload_id = await start(store, os.urandom(LARGE))
    age(store, DAY + 1)

    async def append() -> None:
        async with aclosing(await resume(store, upload_id)) as upload:
            with refused("RANGE_INVALID"):
                await upload.write(b"more")

    assert (await collect_while(store, "drop_upload", append, Policy())).counts == {"abandoned": 1}
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, upload_id)
    assert files(store) == {}


@pytest.mark.parametrize("how", ["tag", "index", "subject"])
async def test_a_manifest_that_is_used_just_before_it_goes(store: Store, how: str) -> None:
    manifest = await push_image(store, subject=descriptor(IMAGE, b"subject"), layers=[b"layer"])
    age(store, 8 * DAY)

    async def use() -> None:
        if how == "tag":
            await push_manifest(store, manifest, IMAGE, "latest")
        elif how == "index":
            await push_manifest(store, index(manifest), INDEX, "latest")
        else:
            await push_manifest(store, b"subject", "application/x-opaque", "latest")

    await collect_while(store, "drop_manifest", use, UNTAGGED)
    assert digest_of(manifest) in await manifests_of(store)


# One at a time


async def test_another_collection_is_at_work(store: Store, other: Store) -> None:
    await push_blob(store, b"content")
    age(store, 3 * DAY)
    refusals: list[str] = []

    async def collect_too() -> None:
        with pytest.raises(StoreError) as caught:
            await collect(other)
        refusals.append(str(caught.value))

    await collect_while(store, "unlink_unreferenced", collect_too, Policy())
    assert len(refusals) == 1
    assert "another collection is running" in refusals[0]
    await collect(other)


async def test_many_pages(store: Store) -> None:
    """Collection reads every row, whichever it deletes and whichever it keeps."""
    gone = {await push_blob(store, f"unreferenced {number}".encode()) for number in range(10)}
    layers = [f"layer {number}".encode() for number in range(10)]
    await push_image(store, "latest", layers=layers)
    uploads = {await start(store, b"bytes") for _ in range(10)}
    age(store, 3 * DAY)
    seen = await freed(store, NOW, page_size=3)
    assert seen == {"unreferenced": gone, "unlinked": gone, "abandoned": uploads}
    for layer in layers:
        assert await read_blob(store, digest_of(layer)) == layer
