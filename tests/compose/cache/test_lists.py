"""Lists: upstream's, and the kept part of them while upstream does not answer."""

from __future__ import annotations

import time

import httpx
import pytest

from ociserver import Backend, Handler
from ociserver.client import Client
from ociserver.compose import Cache
from tests.client.hostile import MANIFEST_DIGEST, good
from tests.client.scripted import Reply, scripted
from tests.serving.uvicorn_here import serve_here

pytestmark = pytest.mark.anyio

REPOSITORY = "library/app"
LISTS = ("tags/list", f"referrers/{MANIFEST_DIGEST}")


@pytest.mark.parametrize("failure", [Reply(None), Reply(503), Reply(429, {"Retry-After": "1"}), Reply(200, delay_s=30)])
async def test_the_kept_part_of_a_list_is_given_within_a_second(local: Backend, failure: Reply) -> None:
    """With the default timeouts and retries of a cache and a client."""
    async with scripted() as upstream:
        upstream.otherwise = good
        cache = Cache(Client(upstream.url), local, retry_after=60)
        async with serve_here(Handler(cache)) as site, httpx.AsyncClient(base_url=site.url) as client:
            await client.get(f"/v2/{REPOSITORY}/manifests/latest")
            upstream.otherwise = lambda _: failure
            for path in LISTS:
                asked = len(upstream.seen)
                for _ in range(3):
                    began = time.monotonic()
                    answer = await client.get(f"/v2/{REPOSITORY}/{path}")
                    # A wide margin for a busy machine: it was 2.6 seconds and more before.
                    assert time.monotonic() - began < 2
                    assert answer.status_code == 200
                    assert "this is the part of the list that is kept here" in answer.headers["Warning"]
                # One request with its retries, and no further requests while upstream stays down.
                assert len(upstream.seen) - asked <= (3 if path == LISTS[0] else 0)
            # The cache has nothing of this repository, so there is no other answer.
            upstream.otherwise = lambda _: Reply(404)
            assert (await client.get("/v2/library/unheard/tags/list")).status_code == 404


async def test_an_upstream_that_answers_again_is_asked_again(local: Backend) -> None:
    async with scripted() as upstream:
        upstream.otherwise = good
        cache = Cache(Client(upstream.url), local, retry_after=60, tag_lifetime=0)
        async with serve_here(Handler(cache)) as site, httpx.AsyncClient(base_url=site.url) as client:
            await client.get(f"/v2/{REPOSITORY}/manifests/latest")
            upstream.otherwise = lambda _: Reply(503)
            assert "Warning" in (await client.get(f"/v2/{REPOSITORY}/tags/list")).headers
            assert "Warning" in (await client.get(f"/v2/{REPOSITORY}/manifests/latest")).headers
            upstream.otherwise = good
            # A request without another answer always asks upstream, and shows that it is back.
            assert (await client.get("/v2/library/unheard/manifests/latest")).status_code == 200
            for path in ("tags/list", "manifests/latest"):
                assert "Warning" not in (await client.get(f"/v2/{REPOSITORY}/{path}")).headers
