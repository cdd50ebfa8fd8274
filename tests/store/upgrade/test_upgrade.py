"""A folder that an older version has written, with manifests that it took under other types: nothing is lost."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ociserver import Store
from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from tests.contract.contents import collect as listed
from tests.contract.contents import read_blob
from tests.store.looking import age, files, rows
from tests.store.upgrade.contents import (
    BLOBS,
    CONFIG,
    DOCKER,
    DOCKER_IMAGE,
    EMPTIED,
    EMPTY,
    IMAGE,
    INDEX,
    LIST,
    MISSING_LAYER,
    NAMED,
    NAMELESS,
    OTHER,
    SIGNATURE,
    TAGS,
    TEAM,
    UNREFERENCED,
    digest_of,
)
from tests.support.server import PROGRAM

pytestmark = pytest.mark.anyio

OLD = Path(__file__).parent / "b727552.tar.gz"

TYPES = {
    NAMED: IMAGE,
    NAMELESS: IMAGE,
    DOCKER: DOCKER_IMAGE,
    LIST: INDEX,
    SIGNATURE: IMAGE,
    MISSING_LAYER: DOCKER_IMAGE,
    b"\0": "application/x-opaque",
}
EVERYTHING = Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0)


def unpack(folder: Path) -> Path:
    """Unpack the older folder. Returns its data."""
    with tarfile.open(OLD) as archive:
        archive.extractall(folder, filter="data")
    return folder / "data"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return unpack(tmp_path)


@pytest.fixture
async def store(old: Path) -> AsyncIterator[Store]:
    async with Store(old) as store:
        yield store


async def assert_whole(store: Store) -> None:
    """Everything that a tag reaches is there, and what it was."""
    for repository, tags in TAGS.items():
        assert await listed(store.tags(repository)) == tags
        for tag in tags:
            found = await store.get_tag(repository, tag)
            assert found.descriptor.media_type == TYPES[found.content]
            assert digest_of(found.content) == found.descriptor.digest
    for repository in (TEAM, OTHER):
        for content in (BLOBS["large"], BLOBS["small"], CONFIG):
            assert await read_blob(store, digest_of(content), repository=repository) == content
    assert await read_blob(store, digest_of(BLOBS["signature"]), repository=TEAM) == BLOBS["signature"]
    (referrer,) = await listed(store.referrers(TEAM, digest_of(NAMED)))
    assert (referrer.digest, referrer.annotations) == (digest_of(SIGNATURE), {"signed": "yes, \u00e9"})


async def test_it_is_opened(store: Store) -> None:
    await assert_whole(store)
    assert await listed(store.repositories()) == [TEAM, OTHER]
    for repository in (EMPTY, EMPTIED):
        assert await listed(store.tags(repository)) == []


async def test_it_is_checked(store: Store) -> None:
    checked = await check(store, content=True)
    assert checked.faults == []
    dangling = [(one.repository, one.what) for one in checked.findings if one.kind == "dangling"]
    assert dangling == [(OTHER, digest_of(MISSING_LAYER))]


async def test_it_is_collected(store: Store) -> None:
    report = await collect(store, EVERYTHING)
    assert report.counts["unreferenced"] == 1, "of the other repository nothing goes: one of its manifests is opaque"
    assert report.freed_bytes > len(UNREFERENCED)
    await assert_whole(store)
    assert len(files(store)) == 1, "the large layer"


async def test_it_is_collected_when_all_is_old(store: Store) -> None:
    age(store, 365 * 24 * 3600)
    await collect(store, Policy(delete_untagged_after_s=24 * 3600))
    await collect(store, EVERYTHING)
    await assert_whole(store)
    assert (await check(store, content=True)).faults == []


async def test_the_retyped_can_be_pushed_again(store: Store) -> None:
    """The type that is right by now is the only one that is taken."""
    for content in (NAMED, NAMELESS, DOCKER, LIST, SIGNATURE):
        pushed = await store.push_manifest(TEAM, content, TYPES[content], tags=["again"])
        assert pushed.descriptor.media_type == TYPES[content]
    await assert_whole_but(store, "again")


async def assert_whole_but(store: Store, tag: str) -> None:
    await store.delete_tag(TEAM, tag)
    await assert_whole(store)


def test_by_the_commands(old: Path) -> None:
    """As a person upgrades: without a line of Python."""

    def command(*arguments: str) -> Any:
        done = subprocess.run(
            [*PROGRAM, *arguments, "--json", "--data", str(old)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    assert command("check", "--content", "--repair")["findings"]
    assert command("collect", "--unreferenced-after", "0s", "--grace", "0s", "--upload-timeout", "0s")["freed_bytes"]
    findings = command("check", "--content")["findings"]
    assert [one["kind"] for one in findings] == ["dangling"]


async def test_what_is_retyped_after_all_is_found_and_mended(store: Store) -> None:
    """As an older version that goes on with a copy of the folder would leave it."""
    spoilt = {NAMED: "application/json", NAMELESS: INDEX, LIST: "application/octet-stream", SIGNATURE: "text/plain"}
    for content, media_type in spoilt.items():
        rows(store, "UPDATE manifests SET media_type = ? WHERE digest = ?", media_type, digest_of(content))
    rows(store, "DELETE FROM refs WHERE manifest_id IN (SELECT id FROM manifests WHERE media_type = ?)", INDEX)
    rows(store, "UPDATE manifests SET subject = NULL")
    faults = (await check(store)).faults
    assert {(one.kind, one.what) for one in faults} == {("manifest type", digest_of(content)) for content in spoilt}
    assert all(IMAGE in one.message or INDEX in one.message for one in faults)
    assert all(one.repaired for one in (await check(store, repair=True)).faults)
    assert (await check(store)).faults == []
    await collect(store, EVERYTHING)
    await assert_whole(store)
