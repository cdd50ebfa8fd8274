"""An upstream or a token server that refuses the cache: treated as down, and never a 401 of the cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from ociserver import Backend, Handler
from ociserver.client import Client, Credentials, RetryPolicy
from ociserver.compose import Cache
from tests.client.hostile import DIGEST, MANIFEST_DIGEST, TEXT, good, status, tokens
from tests.client.scripted import Reply, Scripted, Seen, scripted
from tests.serving.uvicorn_here import serve_here

pytestmark = pytest.mark.anyio

REPOSITORY = "library/app"
OTHER = "library/other"

REFUSALS = {
    "401": status(401),
    "401 with a challenge": status(401, {"WWW-Authenticate": 'Basic realm="upstream"'}),
    "403": status(403),
    "403 with a code": status(403, {}, b'{"errors":[{"code":"DENIED","message":"pay first"}]}'),
    "a token server that refuses": tokens(b"", 401),
    "a token server that fails": tokens(b"", 500),
    "a token server that gives nothing": tokens(b"{}"),
}


@asynccontextmanager
async def cached(local: Backend, retry_after: float = 0) -> AsyncIterator[tuple[Scripted, httpx.AsyncClient]]:
    """An upstream, and a client of its cache."""
    async with scripted() as upstream:
        registry = Client(upstream.url, credentials=Credentials("cache", "secret"), retries=RetryPolicy(attempts=1))
        handler = Handler(Cache(registry, local, tag_lifetime=0, retry_after=retry_after))
        async with serve_here(handler) as site, httpx.AsyncClient(base_url=site.url) as client:
            yield upstream, client


def spoilt(name: str, only: str = "") -> Callable[[Seen], Reply]:
    return lambda seen: REFUSALS[name](seen, good(seen)) if only in seen.path else good(seen)


@pytest.mark.parametrize("name", REFUSALS)
async def test_known_contents_are_given_with_a_warning_and_others_are_502(local: Backend, name: str) -> None:
    async with cached(local) as (upstream, client):
        upstream.otherwise = good
        assert (await client.get(f"/v2/{REPOSITORY}/manifests/latest")).status_code == 200
        upstream.otherwise = spoilt(name)
        host = upstream.url.removeprefix("http://")
        answer = await client.get(f"/v2/{REPOSITORY}/manifests/latest")
        assert (answer.status_code, answer.content) == (200, TEXT)
        assert host in answer.headers["Warning"]
        answer = await client.get(f"/v2/{REPOSITORY}/tags/list")
        assert (answer.status_code, answer.json()["tags"]) == (200, ["latest"])
        assert host in answer.headers["Warning"]
        for path in ("manifests/unheard", f"manifests/{DIGEST}", f"blobs/{DIGEST}"):
            for method in ("GET", "HEAD"):
                answer = await client.request(method, f"/v2/{REPOSITORY}/{path}")
                assert answer.status_code == 502
                assert "WWW-Authenticate" not in answer.headers
                # The message says whose credentials are wrong.
                assert method == "HEAD" or host in answer.json()["errors"][0]["message"]
        upstream.otherwise = good
        answer = await client.get(f"/v2/{REPOSITORY}/manifests/latest")
        assert (answer.status_code, "Warning" in answer.headers) == (200, False)
        assert (await client.get(f"/v2/{REPOSITORY}/blobs/{DIGEST}")).status_code == 200


async def test_a_refused_repository_does_not_affect_the_others(local: Backend) -> None:
    async with cached(local, retry_after=60) as (upstream, client):
        upstream.otherwise = good
        for repository in (REPOSITORY, OTHER):
            await client.get(f"/v2/{repository}/manifests/latest")
        upstream.otherwise = spoilt("403", only=REPOSITORY)
        for _ in range(3):
            answer = await client.get(f"/v2/{REPOSITORY}/manifests/latest")
            assert "refuses the credentials" in answer.headers["Warning"]
            assert "Warning" not in (await client.get(f"/v2/{OTHER}/manifests/latest")).headers
        # Once, and not for each request.
        asked = [seen for seen in upstream.seen if seen.path.startswith(f"/v2/{REPOSITORY}/")]
        assert [seen.method for seen in asked] == ["GET", "HEAD"]


@pytest.mark.parametrize("refusal", [405, 501])
async def test_an_upstream_without_head_gets_a_get(local: Backend, refusal: int) -> None:
    async with cached(local) as (upstream, client):
        upstream.otherwise = lambda seen: Reply(refusal) if seen.method == "HEAD" else good(seen)
        for _ in range(2):
            for method in ("GET", "HEAD"):
                answer = await client.request(method, f"/v2/{REPOSITORY}/manifests/latest")
                assert answer.status_code == 200
                assert answer.headers["Docker-Content-Digest"] == MANIFEST_DIGEST
                assert "Warning" not in answer.headers
        answer = await client.head(f"/v2/{REPOSITORY}/blobs/{DIGEST}")
        assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(256 * 400))
