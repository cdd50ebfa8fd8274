"""Answers of the cache without waiting (`Backend.read_nowait`): kept contents that need no request and no record."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from ociserver import Backend
from ociserver.adapt import read_nowait_of
from ociserver.compose import Cache
from tests.compose.cache.upstream import REPOSITORY, Upstream
from tests.contract.contents import digest_of, read_blob

pytestmark = pytest.mark.anyio


@dataclass
class Known:
    """Requests that the cache has answered before."""

    cache: Cache
    manifest: str
    blob: str

    async def read(self) -> None:
        """Read with the usual calls, often enough for a store to keep the answers in memory."""
        for _ in range(2):
            await self.cache.get_tag(REPOSITORY, "latest")
            await self.cache.resolve_tag(REPOSITORY, "latest")
            await self.cache.get_manifest(REPOSITORY, self.manifest)
            await self.cache.resolve_manifest(REPOSITORY, self.manifest)
            await read_blob(self.cache, self.blob, repository=REPOSITORY)
            await self.cache.resolve_blob(REPOSITORY, self.blob)

    def read_at_once(self) -> dict[str, str | None]:
        read_nowait = read_nowait_of(self.cache)
        assert read_nowait
        asked = [("manifest", "latest"), ("manifest", self.manifest), ("blob", self.blob)]
        found = {
            f"{kind}_{method} {reference[:6]}": read_nowait(f"{kind}_{method}", REPOSITORY, reference)
            for kind, reference in asked
            for method in ("get", "head")
        }
        return {name: None if answer is None else answer[0].digest for name, answer in found.items()}


async def known(cache: Cache, upstream: Upstream) -> Known:
    return Known(cache, await upstream.image(b"layer"), digest_of(b"layer"))


async def test_kept_contents_are_answered_without_waiting(local: Backend, upstream: Upstream) -> None:
    async with Cache(upstream, local) as cache:
        here = await known(cache, upstream)
        assert set(here.read_at_once().values()) == {None}
        await here.read()
        asked = dict(upstream.asked)
        assert here.read_at_once() == {
            "manifest_get latest": here.manifest,
            "manifest_head latest": here.manifest,
            "manifest_get sha256": here.manifest,
            "manifest_head sha256": here.manifest,
            "blob_get sha256": here.blob,
            "blob_head sha256": here.blob,
        }
        assert upstream.asked == asked


async def test_a_tag_is_not_answered_after_its_lifetime(local: Backend, upstream: Upstream) -> None:
    async with Cache(upstream, local, tag_lifetime=0.2) as cache:
        here = await known(cache, upstream)
        await here.read()
        assert here.read_at_once()["manifest_get latest"] == here.manifest
        await asyncio.sleep(0.25)
        found = here.read_at_once()
        assert found["manifest_get latest"] is found["manifest_head latest"] is None
        assert found["manifest_get sha256"] == here.manifest


async def test_a_read_whose_use_must_be_recorded_is_not_answered(local: Backend, upstream: Upstream) -> None:
    async with Cache(upstream, local, use_after=0) as cache:
        here = await known(cache, upstream)
        await here.read()
        assert {name for name, found in here.read_at_once().items() if found is None} == {
            "manifest_get latest",
            "manifest_get sha256",
            "blob_get sha256",
        }


async def test_a_missing_content_is_not_refused(local: Backend, upstream: Upstream) -> None:
    """Upstream may have it."""
    async with Cache(upstream, local) as cache:
        here = await known(cache, upstream)
        assert set((await asyncio.to_thread(here.read_at_once)).values()) == {None}


async def test_a_deleted_content_is_not_answered(local: Backend, upstream: Upstream) -> None:
    async with Cache(upstream, local) as cache:
        here = await known(cache, upstream)
        await here.read()
        await cache.delete_manifest(REPOSITORY, here.manifest)
        await cache.delete_blob(REPOSITORY, here.blob)
        assert set(here.read_at_once().values()) == {None}
