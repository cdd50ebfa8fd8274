"""Tags and manifests: for how long they are fresh, and what clients get if upstream does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ociserver import Backend, HTTPError, Manifest, OCIError
from ociserver.compose import Cache
from ociserver.context import RequestContext, request_context
from tests.compose.cache.upstream import REPOSITORY, Upstream
from tests.support.images import digest_of

pytestmark = pytest.mark.anyio

FAILURES = [HTTPError(502, "down"), OCIError("TOOMANYREQUESTS"), HTTPError(503), ConnectionResetError()]


async def ask(cache: Cache, tag: str = "latest") -> tuple[Manifest, list[str]]:
    """The manifest of a tag, and the warnings of the answer."""
    context = RequestContext("test")
    token = request_context.set(context)
    try:
        return await cache.get_tag(REPOSITORY, tag), list(context.warnings)
    finally:
        request_context.reset(token)


async def test_a_tag_is_fresh_for_its_lifetime_and_then_revalidated_by_head(local: Backend, upstream: Upstream) -> None:
    digest = await upstream.image(b"one")
    async with Cache(upstream, local, tag_lifetime=0.2) as cache:
        for _ in range(3):
            assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.digest == digest
            assert (await cache.resolve_tag(REPOSITORY, "latest")).digest == digest
        assert upstream.asked == {"tag": 1}
        await asyncio.sleep(0.25)
        await cache.get_tag(REPOSITORY, "latest")
        assert upstream.asked == {"tag": 1, "head tag": 1}
        moved = await upstream.image(b"two")
        assert (await cache.resolve_tag(REPOSITORY, "latest")).digest == digest
        await asyncio.sleep(0.25)
        assert (await cache.resolve_tag(REPOSITORY, "latest")).digest == moved
        assert upstream.asked == {"tag": 1, "head tag": 2, "manifest": 1}


async def test_concurrent_reads_are_one_request(local: Backend, upstream: Upstream) -> None:
    digest = await upstream.image(b"one")
    async with Cache(upstream, local) as cache:
        await asyncio.gather(*(cache.get_tag(REPOSITORY, "latest") for _ in range(32)))
        await local.delete_manifest(REPOSITORY, digest)
        await asyncio.gather(*(cache.get_manifest(REPOSITORY, digest) for _ in range(32)))
    assert upstream.asked == {"tag": 1, "manifest": 1}


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_an_upstream_that_fails_leaves_the_old_answer_with_a_warning(
    local: Backend, upstream: Upstream, failure: Exception
) -> None:
    digest = await upstream.image(b"one")
    async with Cache(upstream, local, tag_lifetime=0, retry_after=0) as cache:
        assert (await ask(cache))[1] == []
        upstream.failure = failure
        manifest, warnings = await ask(cache)
        assert manifest.descriptor.digest == digest
        assert len(warnings) == 1
        assert "upstream does not answer" in warnings[0]
        with pytest.raises(type(failure)):
            await cache.get_tag(REPOSITORY, "unheard")
        upstream.failure = None
        assert (await ask(cache))[1] == []


async def test_a_slow_upstream_has_a_timeout_and_then_a_pause(local: Backend, upstream: Upstream) -> None:
    digest = await upstream.image(b"one")
    async with Cache(upstream, local, tag_lifetime=0, upstream_timeout=0.05, retry_after=60) as cache:
        await ask(cache)
        upstream.delay_s = 2
        async with asyncio.timeout(1.5):
            for _ in range(3):
                manifest, warnings = await ask(cache)
                assert (manifest.descriptor.digest, "slow" in warnings[0]) == (digest, True)
        assert upstream.asked == {"tag": 1, "head tag": 1}


async def test_a_tag_that_upstream_has_deleted_is_gone(local: Backend, upstream: Upstream) -> None:
    digest = await upstream.image(b"one")
    async with Cache(upstream, local, tag_lifetime=0) as cache:
        await cache.get_tag(REPOSITORY, "latest")
        await upstream.memory.delete_tag(REPOSITORY, "latest")
        for _ in range(2):
            with pytest.raises(OCIError, match="manifest unknown"):
                await cache.get_tag(REPOSITORY, "latest")
        assert (await cache.get_manifest(REPOSITORY, digest)).descriptor.digest == digest


@pytest.mark.parametrize("code", ["DENIED", "UNAUTHORIZED"])
async def test_a_refusal_is_of_the_cache_and_not_of_its_client(local: Backend, upstream: Upstream, code: str) -> None:
    digest = await upstream.image(b"one")
    async with Cache({"docker.io": upstream}, local, tag_lifetime=0) as cache:
        await cache.get_tag(f"docker.io/{REPOSITORY}", "latest")
        upstream.failure = OCIError(code)
        context = RequestContext("test")
        token = request_context.set(context)
        found = await cache.resolve_tag(f"docker.io/{REPOSITORY}", "latest")
        request_context.reset(token)
        assert found.digest == digest
        assert "refuses the credentials of this cache (docker.io:" in context.warnings[0]
        with pytest.raises(HTTPError, match=r"docker\.io") as caught:
            await cache.get_tag(f"docker.io/{REPOSITORY}", "unheard")
        assert caught.value.status == 502


async def test_a_manifest_that_does_not_match_its_digest_is_not_kept(local: Backend, upstream: Upstream) -> None:
    digest = await upstream.image(b"one")
    upstream.replaced[digest] = b"{}"
    async with Cache(upstream, local) as cache:
        for work in (cache.get_tag(REPOSITORY, "latest"), cache.get_manifest(REPOSITORY, digest)):
            with pytest.raises(OCIError) as wrong:
                await work
            assert (wrong.value.code, wrong.value.status) == ("DIGEST_INVALID", 502)
        for found in (digest, digest_of(b"{}")):
            with pytest.raises(OCIError):
                await local.get_manifest(REPOSITORY, found)


async def test_the_freshness_of_tags_survives_a_restart(
    make_local: Callable[[], Backend], upstream: Upstream, request: pytest.FixtureRequest
) -> None:
    await upstream.image(b"one")
    for _ in range(2):
        async with Cache(upstream, make_local()) as cache:
            await cache.get_tag(REPOSITORY, "latest")
    # A registry in memory loses it with everything else.
    assert upstream.asked["tag"] == (1 if "store" in request.node.callspec.id else 2)


async def test_lists_are_upstreams_or_the_kept_part_if_it_is_down(local: Backend, upstream: Upstream) -> None:
    await upstream.image(b"one", tag="a")
    await upstream.image(b"two", tag="b")
    async with Cache(upstream, local) as cache:
        await cache.get_tag(REPOSITORY, "b")
        assert [tag async for tag in cache.tags(REPOSITORY)] == ["a", "b"]
        upstream.failure = HTTPError(502)
        assert [tag async for tag in cache.tags(REPOSITORY)] == ["b"]
        with pytest.raises(HTTPError):
            await anext(cache.tags("never/asked"))
