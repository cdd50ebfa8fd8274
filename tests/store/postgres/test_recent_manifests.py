"""What a node keeps in memory of a database that other nodes change."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from ociserver import Descriptor, Manifest, Store
from ociserver._core import digest_of
from ociserver.store.postgres import PostgreSQL
from ociserver.store.recent_manifests import RecentManifests
from tests.contract.contents import IMAGE, REPOSITORY, image, push_blob
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

LIFETIME_S: Final = 1.0
CONTENT: Final = image(b"{}")
DIGEST: Final = digest_of(CONTENT)


@pytest.fixture
async def nodes(url: str, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """Two nodes, and one manifest with the tag v1."""
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(
                Store(tmp_path / "data", database=PostgreSQL(url, cache_manifests_s=LIFETIME_S))
            )
            for _ in range(2)
        ]
        await push_blob(one, b"{}")
        await one.push_manifest(REPOSITORY, CONTENT, IMAGE, tags=["v1"])
        yield one, two


def nowait(store: Store, kind: str, reference: str) -> object:
    return store.read_nowait(kind, REPOSITORY, reference)


async def test_what_another_node_has_deleted(nodes: tuple[Store, Store]) -> None:
    """It may be served until its time is over, and no longer."""
    one, two = nodes
    assert (await one.get_manifest(REPOSITORY, DIGEST)).content == CONTENT
    began = time.monotonic()
    await two.delete_manifest(REPOSITORY, DIGEST)
    with refused("MANIFEST_UNKNOWN"):
        await two.get_manifest(REPOSITORY, DIGEST)
    for _ in range(2):  # a read does not make it last longer
        assert (await one.get_manifest(REPOSITORY, DIGEST)).content == CONTENT
        await asyncio.sleep(LIFETIME_S / 4)
    await asyncio.sleep(began + LIFETIME_S - time.monotonic())
    with refused("MANIFEST_UNKNOWN"):
        await one.get_manifest(REPOSITORY, DIGEST)


async def test_what_this_node_has_deleted(nodes: tuple[Store, Store]) -> None:
    one, _ = nodes
    await one.get_manifest(REPOSITORY, DIGEST)
    await one.delete_manifest(REPOSITORY, DIGEST)
    with refused("MANIFEST_UNKNOWN"):
        await one.get_manifest(REPOSITORY, DIGEST)
    await one.push_manifest(REPOSITORY, CONTENT, IMAGE)
    await one.get_manifest(REPOSITORY, DIGEST)
    await one.delete_repository(REPOSITORY)
    with refused("NAME_UNKNOWN"):
        await one.get_manifest(REPOSITORY, DIGEST)


async def test_what_was_just_pushed(nodes: tuple[Store, Store]) -> None:
    """That something was not there is not kept."""
    one, two = nodes
    content = image(b"{}", annotations={"new": "1"})
    with refused("MANIFEST_UNKNOWN"):
        await one.get_manifest(REPOSITORY, digest_of(content))
    await two.push_manifest(REPOSITORY, content, IMAGE)
    assert (await one.get_manifest(REPOSITORY, digest_of(content))).content == content


async def test_a_tag_is_never_kept(nodes: tuple[Store, Store]) -> None:
    one, two = nodes
    for number in range(5):
        content = image(b"{}", annotations={"number": str(number)})
        await two.push_manifest(REPOSITORY, content, IMAGE, tags=["v1"])
        assert (await one.get_tag(REPOSITORY, "v1")).content == content
        assert (await one.resolve_tag(REPOSITORY, "v1")).digest == digest_of(content)
        assert await asyncio.to_thread(nowait, one, "manifest_get", "v1") is None
    await two.delete_tag(REPOSITORY, "v1")
    with refused("MANIFEST_UNKNOWN"):
        await one.get_tag(REPOSITORY, "v1")


async def test_other_threads(nodes: tuple[Store, Store]) -> None:
    """Only the content by digest: a HEAD may have to renew the manifest."""
    one, _ = nodes
    assert await asyncio.to_thread(nowait, one, "manifest_get", DIGEST) is None
    manifest = await one.get_manifest(REPOSITORY, DIGEST)
    assert await asyncio.to_thread(nowait, one, "manifest_get", DIGEST) == (manifest.descriptor, CONTENT)
    assert await asyncio.to_thread(nowait, one, "manifest_head", DIGEST) is None


# The map alone


def manifest(number: int, size: int = 10) -> Manifest:
    content = str(number).encode().ljust(size)
    return Manifest(Descriptor(IMAGE, digest_of(content), size), content)


def kept(recent: RecentManifests, manifests: list[Manifest]) -> list[int]:
    """The numbers of the manifests that are kept."""
    return [number for number, one in enumerate(manifests) if recent.get("r", one.descriptor.digest) is one]


def test_a_read_beside_a_deletion() -> None:
    recent = RecentManifests(60)
    one = manifest(0)
    begun = recent.begin()
    recent.clear()
    recent.put(begun, "r", one)
    assert kept(recent, [one]) == []
    recent.put(recent.begin(), "r", one)
    assert kept(recent, [one]) == [0]
    assert recent.get("other", one.descriptor.digest) is None


def test_a_read_that_takes_long() -> None:
    """It counts from its beginning."""
    recent = RecentManifests(0.1)
    one = manifest(0)
    begun = recent.begin()
    time.sleep(0.1)
    recent.put(begun, "r", one)
    assert kept(recent, [one]) == []


def test_bounds() -> None:
    manifests = [manifest(number) for number in range(5)]
    for recent in (RecentManifests(60, max_entries=3), RecentManifests(60, max_bytes=3 * 1034)):
        for one in (*manifests, manifests[4]):
            recent.put(recent.begin(), "r", one)
        assert kept(recent, manifests) == [2, 3, 4]
    large = manifest(0, 1_000_000)
    recent.put(recent.begin(), "r", large)
    assert kept(recent, [large]) == []


def test_nothing_is_kept_without_a_lifetime() -> None:
    recent = RecentManifests(0)
    one = manifest(0)
    recent.put(recent.begin(), "r", one)
    assert kept(recent, [one]) == []
