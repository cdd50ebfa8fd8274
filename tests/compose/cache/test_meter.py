"""What a cache reports to a meter."""

from __future__ import annotations

from collections import Counter

import pytest

from ociserver import Backend, HTTPError, OCIError
from ociserver.compose import Cache
from ociserver.errors import UnreachableError
from ociserver.meter import CacheContent, Meter, UpstreamFailure
from tests.compose.cache.upstream import REPOSITORY, Upstream
from tests.contract.contents import digest_of, read_blob

pytestmark = pytest.mark.anyio


class Noting(Meter):
    """Counts in a dictionary."""

    def __init__(self) -> None:
        self.noted: Counter[str] = Counter()

    def cache_read(self, content: CacheContent, *, is_hit: bool) -> None:
        self.noted[f"{content} {'hit' if is_hit else 'miss'}"] += 1

    def upstream_failed(self, failure: UpstreamFailure) -> None:
        self.noted[failure] += 1

    def take(self) -> dict[str, int]:
        """What was noted since the last call."""
        noted, self.noted = self.noted, Counter()
        return dict(noted)


async def test_the_first_read_is_a_miss_and_later_ones_are_hits(local: Backend, upstream: Upstream) -> None:
    meter, blob = Noting(), digest_of(b"layer")
    manifest = await upstream.image(b"layer")
    async with Cache(upstream, local, meter=meter) as cache:
        await cache.get_tag(REPOSITORY, "latest")
        await read_blob(cache, blob, repository=REPOSITORY)
        assert meter.take() == {"manifest miss": 1, "blob miss": 1}
        await cache.get_tag(REPOSITORY, "latest")
        await cache.get_manifest(REPOSITORY, manifest)
        await cache.resolve_blob(REPOSITORY, blob)
        await read_blob(cache, blob, repository=REPOSITORY)
        assert meter.take() == {"manifest hit": 2, "blob hit": 2}
        for kind, reference in (("manifest_get", manifest), ("manifest_head", manifest), ("blob_head", blob)):
            await cache.get_manifest(REPOSITORY, manifest)
            meter.take()
            if cache.read_nowait(kind, REPOSITORY, reference) is not None:
                assert meter.take() == {f"{kind.partition('_')[0]} hit": 1}
        assert [tag async for tag in cache.tags(REPOSITORY)] == ["latest"]
        assert meter.take() == {"list miss": 1}


async def test_a_missing_content_is_no_failure(local: Backend, upstream: Upstream) -> None:
    meter = Noting()
    async with Cache(upstream, local, meter=meter) as cache:
        with pytest.raises(OCIError):
            await cache.get_tag(REPOSITORY, "latest")
    assert meter.take() == {"manifest miss": 1}


@pytest.mark.parametrize(
    "error, failure",
    [
        (UnreachableError(502), "unreachable"),
        (UnreachableError(504), "slow"),
        (HTTPError(500), "server_error"),
        (OCIError("TOOMANYREQUESTS"), "throttled"),
        (OCIError("UNAUTHORIZED"), "refused"),
        (OCIError("DENIED"), "refused"),
    ],
    ids=str,
)
async def test_a_failure_has_a_reason(error: Exception, failure: str, local: Backend, upstream: Upstream) -> None:
    meter = Noting()
    await upstream.image(b"layer")
    upstream.failure = error
    async with Cache(upstream, local, meter=meter) as cache:
        with pytest.raises((OCIError, HTTPError)):
            await cache.get_tag(REPOSITORY, "latest")
    assert meter.take() == {"manifest miss": 1, failure: 1}


async def test_an_upstream_that_takes_too_long_is_slow(local: Backend, upstream: Upstream) -> None:
    meter = Noting()
    await upstream.image(b"layer")
    upstream.delay_s = 5
    async with Cache(upstream, local, meter=meter, answer_timeout=0.05) as cache:
        with pytest.raises(HTTPError):
            await cache.get_tag(REPOSITORY, "latest")
    assert meter.take() == {"manifest miss": 1, "slow": 1}


async def test_wrong_bytes_are_a_failure(local: Backend, upstream: Upstream) -> None:
    meter, blob = Noting(), digest_of(b"layer")
    manifest = await upstream.image(b"layer")
    upstream.replaced = {blob: b"LAYER", manifest: b"{}"}
    async with Cache(upstream, local, meter=meter) as cache:
        with pytest.raises(OCIError):
            await cache.get_manifest(REPOSITORY, manifest)
        assert meter.take() == {"manifest miss": 1, "wrong_content": 1}
        with pytest.raises(OCIError):
            await read_blob(cache, blob, repository=REPOSITORY)
        assert meter.take() == {"blob miss": 1, "wrong_content": 1}
