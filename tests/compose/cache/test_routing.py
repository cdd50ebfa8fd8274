"""Several upstreams, and repositories that are pushed beside them."""

from __future__ import annotations

import httpx
import pytest

from ociserver import Backend, Handler, Memory, OCIError
from ociserver.compose import Cache
from tests.compose.cache.upstream import REPOSITORY, Upstream, push, read
from tests.support.images import MANIFEST

pytestmark = pytest.mark.anyio


async def test_a_host_is_named_by_ns_or_by_the_repository(local: Backend) -> None:
    hub, other, rest = Upstream(), Upstream(), Upstream()
    images = [await upstream.image(text) for upstream, text in ((hub, b"hub"), (other, b"other"), (rest, b"rest"))]
    cache = Cache({"docker.io": hub, "registry.example:5000": other, "": rest}, local)
    handler = Handler(cache)
    async with handler, httpx.AsyncClient(transport=httpx.ASGITransport(handler), base_url="http://cache") as client:
        for path, digest, host in (
            (f"{REPOSITORY}/manifests/latest?ns=docker.io", images[0], "docker.io"),
            (f"docker.io/{REPOSITORY}/manifests/latest", images[0], None),
            (f"{REPOSITORY}/manifests/latest?ns=registry.example:5000", images[1], "registry.example:5000"),
            (f"registry.example_5000/{REPOSITORY}/manifests/latest", images[1], None),
            (f"{REPOSITORY}/manifests/latest", images[2], None),
            (f"{REPOSITORY}/manifests/latest?ns=unknown.example", images[2], None),
        ):
            answer = await client.get(f"/v2/{path}")
            assert answer.status_code == 200
            assert answer.headers["docker-content-digest"] == digest
            assert answer.headers.get("oci-namespace") == host
    # Both names mean the same repository.
    assert [upstream.asked["tag"] for upstream in (hub, other, rest)] == [1, 1, 1]


@pytest.mark.parametrize("host", ["Docker.IO", "a b", "/x"])
async def test_an_invalid_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="not the host of a registry"):
        Cache({host: Memory()}, Memory())


async def test_names_that_belong_to_no_upstream_are_local(local: Backend) -> None:
    hub = Upstream()
    async with Cache({"docker.io": hub}, local) as cache:
        with pytest.raises(OCIError, match="not known"):
            await cache.get_tag("mine", "v1")
        await cache.push_manifest("mine", b"{}", "application/x", tags=["v1"])
        assert (await cache.get_tag("mine", "v1")).content == b"{}"
    assert not hub.asked


async def test_a_repository_is_either_pushed_to_or_fetched(local: Backend, upstream: Upstream) -> None:
    await upstream.image(b"theirs")
    await upstream.image(b"theirs", repository="mine")
    async with Cache(upstream, local) as cache:
        await cache.push_manifest("mine", b"{}", "application/x", tags=["v1"])
        assert (await cache.get_tag("mine", "v1")).content == b"{}"
        for missing in (cache.get_tag("mine", "latest"), cache.get_tag("mine", "v2")):
            with pytest.raises(OCIError, match="manifest unknown"):
                await missing
        assert not upstream.asked
        await cache.get_tag(REPOSITORY, "latest")
        with pytest.raises(OCIError, match="is read-only here"):
            await cache.push_manifest(REPOSITORY, b"{}", "application/x", tags=["latest"])
        with pytest.raises(OCIError, match="is read-only here"):
            await cache.push_blob_chunked(REPOSITORY)


async def test_existing_local_repositories_stay_local(local: Backend, upstream: Upstream) -> None:
    await upstream.image(b"theirs")
    async with local:
        await local.push_manifest(REPOSITORY, b"{}", "application/x", tags=["latest"])
        async with Cache(upstream, Passed(local)) as cache:
            assert (await cache.get_tag(REPOSITORY, "latest")).content == b"{}"
    assert not upstream.asked


async def test_a_push_that_fails_does_not_hide_upstream(local: Backend, upstream: Upstream) -> None:
    digest = await upstream.image(b"theirs")
    async with Cache(upstream, local) as cache:
        with pytest.raises(OCIError):
            await cache.push_manifest(REPOSITORY, b"{", MANIFEST, tags=["latest"])
        assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.digest == digest


async def test_the_caller_can_decide_which_repositories_are_local(local: Backend, upstream: Upstream) -> None:
    digest = await upstream.image(b"theirs")
    async with Cache(upstream, local, is_local=lambda name: name.startswith("team/")) as cache:
        with pytest.raises(OCIError, match="is read-only here"):
            await push(cache, REPOSITORY, b"x")
        with pytest.raises(OCIError, match="is read-only here"):
            await cache.mount_blob("team/app", REPOSITORY, digest)
        pushed = await push(cache, "team/app", b"x")
        assert await read(cache.get_blob("team/app", pushed)) == b"x"
        with pytest.raises(OCIError, match="blob unknown"):
            await cache.get_blob("team/app", digest)
        assert not upstream.asked
        assert (await cache.get_tag(REPOSITORY, "latest")).descriptor.digest == digest


async def test_only_requested_contents_are_fetched(local: Backend, upstream: Upstream) -> None:
    """Only the platform of an index that the client requests, and no other."""
    children = [await upstream.image(text, tag=text.decode()) for text in (b"amd64", b"arm64")]
    index = f'{{"schemaVersion":2,"manifests":[{",".join(_entry(digest) for digest in children)}]}}'.encode()
    await upstream.memory.push_manifest(REPOSITORY, index, "application/vnd.oci.image.index.v1+json", tags=["all"])
    async with Cache(upstream, local) as cache:
        assert (await cache.get_tag(REPOSITORY, "all")).content == index
        await cache.get_manifest(REPOSITORY, children[1])
        with pytest.raises(OCIError):
            await local.get_manifest(REPOSITORY, children[0])
    assert upstream.asked == {"tag": 1, "manifest": 1}


def _entry(digest: str) -> str:
    return f'{{"mediaType":"{MANIFEST}","digest":"{digest}","size":1}}'


class Passed(Backend):
    """A backend that the test opens and closes."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        for name in ("get_tag", "get_manifest", "resolve_tag", "resolve_manifest", "tags", "push_manifest"):
            setattr(self, name, getattr(inner, name))
