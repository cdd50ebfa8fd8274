"""An upstream that is down, hangs, or sends invalid answers: which requests wait for it, with the default timeouts."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from ociserver import Backend, Handler, Memory
from ociserver.client import Client
from ociserver.compose import Cache
from tests.client.hostile import DIGEST, MANIFEST_DIGEST, good
from tests.client.scripted import Reply, Scripted, Seen, scripted
from tests.serving.uvicorn_here import serve_here

pytestmark = pytest.mark.anyio

KNOWN = "library/app"
LISTS = (f"{KNOWN}/tags/list", f"{KNOWN}/referrers/{MANIFEST_DIGEST}")
UNKNOWN = (
    f"{KNOWN}/manifests/unheard",
    f"{KNOWN}/blobs/{DIGEST}",
    "library/unheard/manifests/latest",
    "library/unheard/tags/list",
)

AT_ONCE_S = 0.5
"""A wide margin for an answer that does not wait."""


@pytest.fixture
def local() -> Backend:
    """Of one kind, because what is kept has no part in this, and some tests wait for seconds."""
    return Memory(lax_child_references=True)


@asynccontextmanager
async def cached(local: Backend, **settings: Any) -> AsyncIterator[tuple[Scripted, httpx.AsyncClient]]:
    """An upstream, and a client of its cache, which has `KNOWN`."""
    async with scripted() as upstream:
        upstream.otherwise = good
        handler = Handler(Cache(Client(upstream.url), local, **settings))
        async with serve_here(handler) as site, httpx.AsyncClient(base_url=site.url, timeout=60) as client:
            await client.get(f"/v2/{KNOWN}/manifests/latest")
            yield upstream, client


async def timed(client: httpx.AsyncClient, path: str) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = await client.get(f"/v2/{path}")
    return answer, time.monotonic() - began


def hangs(_: Seen) -> Reply:
    return Reply(200, delay_s=60)


def token_server(realm: str) -> Callable[[Seen], Reply]:
    return lambda seen: (
        hangs(seen)
        if seen.path == "/token"
        else Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm or "http://" + seen.headers["host"]}/token"'})
    )


@pytest.mark.parametrize("failure", [hangs, token_server("")], ids=["upstream", "token server"])
async def test_a_list_does_not_wait_for_an_upstream_that_hangs(
    local: Backend, failure: Callable[[Seen], Reply]
) -> None:
    async with cached(local, retry_after=1) as (upstream, client):
        upstream.otherwise = failure
        answer, seconds = await timed(client, LISTS[0])
        assert seconds < 2, "a wide margin; before, it was 5 seconds"
        assert "this is the part of the list that is kept here" in answer.headers["Warning"]
        upstream.seen.clear()
        for path in LISTS:
            assert "Warning" in (await client.get(f"/v2/{path}")).headers
        assert not upstream.seen
        # After the pause, one request is the probe.
        await asyncio.sleep(1)
        answers = await asyncio.gather(*(timed(client, path) for path in LISTS * 5))
        assert all("Warning" in answer.headers for answer, _ in answers)
        assert sum(seconds > 0.75 for _, seconds in answers) <= 1
        assert len(upstream.seen) <= 2, "a probe, and the token that it needs"


async def test_a_slow_list_does_not_affect_tags(local: Backend) -> None:
    async with cached(local, tag_lifetime=0) as (upstream, client):
        upstream.otherwise = lambda seen: hangs(seen) if seen.path.endswith("/list") else good(seen)
        assert "Warning" in (await client.get(f"/v2/{LISTS[0]}")).headers
        assert "Warning" not in (await client.get(f"/v2/{KNOWN}/manifests/latest")).headers


async def test_an_unreachable_token_server_is_waited_for_once(local: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with cached(local) as (upstream, client):
        upstream.otherwise = token_server(f"http://127.0.0.1:{port}")
        answer, seconds = await timed(client, UNKNOWN[0])
        # Before, 23 seconds.
        assert (answer.status_code, seconds < 8) == (502, True)
        message = answer.json()["errors"][0]["message"]
        assert message.startswith(f"the token server of {upstream.url.removeprefix('http://').replace(':', ' port ')}")
        assert f"127.0.0.1 port {port} cannot be reached" in message


@pytest.mark.parametrize("failure", [Reply(None), Reply(503)], ids=["no answer", "503"])
async def test_unknown_contents_fail_fast_while_upstream_is_down(local: Backend, failure: Reply) -> None:
    async with cached(local) as (upstream, client):
        upstream.otherwise = lambda _: failure
        await client.get(f"/v2/{UNKNOWN[0]}")
        for path in UNKNOWN:
            answer, seconds = await timed(client, path)
            assert answer.status_code in (502, 503)
            assert seconds < 1.5
        # One request at a time asks, and notices when upstream is back.
        upstream.seen.clear()
        answers = await asyncio.gather(*(timed(client, f"library/{number}/manifests/a") for number in range(9)))
        refused = [answer for answer, seconds in answers if seconds < AT_ONCE_S and "Retry-After" in answer.headers]
        assert len(refused) >= 7
        assert all(answer.status_code == 503 for answer in refused)
        assert len(upstream.seen) <= 2 * 2
        upstream.otherwise = good
        assert (await client.get(f"/v2/{UNKNOWN[0]}")).status_code == 200
        answers = await asyncio.gather(*(timed(client, f"library/{number}/manifests/a") for number in range(9)))
        assert {answer.status_code for answer, _ in answers} == {200}


async def test_unknown_contents_do_not_wait_for_an_upstream_that_hangs(local: Backend) -> None:
    async with cached(local, answer_timeout=1, retry_after=2) as (upstream, client):
        upstream.otherwise = hangs
        answer, seconds = await timed(client, UNKNOWN[0])
        assert (answer.status_code, seconds < 3) == (504, True)
        upstream.seen.clear()
        for path in UNKNOWN:
            answer, seconds = await timed(client, path)
            assert (answer.status_code, seconds < AT_ONCE_S) == (503, True)
            assert 1 <= int(answer.headers["Retry-After"]) <= 2
            assert "upstream does not answer" in answer.json()["errors"][0]["message"]
        assert not upstream.seen
        await asyncio.sleep(2)
        upstream.otherwise = good
        assert (await client.get(f"/v2/{UNKNOWN[0]}")).status_code == 200


async def test_an_upstream_that_sends_only_1xx(local: Backend) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        cache = Cache(Client(f"http://127.0.0.1:{port}"), local, answer_timeout=1)
        async with serve_here(Handler(cache)) as site, httpx.AsyncClient(base_url=site.url, timeout=60) as client:
            answer, seconds = await timed(client, UNKNOWN[1])
            assert (answer.status_code, seconds < 3) == (504, True)
            # The client has closed the connection, and the server notices.
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: a\0b\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["NUL", "status 99", "negative length", "huge length", "10,000 headers", "no HTTP"],
)
async def test_an_answer_that_is_not_http_is_not_requested_again(local: Backend, raw: bytes) -> None:
    async with cached(local) as (upstream, client):
        upstream.otherwise = lambda _: Reply(None, raw=raw)
        upstream.seen.clear()
        answer, seconds = await timed(client, UNKNOWN[0])
        assert (answer.status_code, len(upstream.seen), seconds < 1) == (502, 1, True)
        message = answer.json()["errors"][0]["message"]
        assert upstream.url.removeprefix("http://").replace(":", " port ") in message
        assert "Error" not in message
        # The registry is up: other answers may be valid.
        upstream.otherwise = good
        assert (await client.get(f"/v2/{UNKNOWN[0]}")).status_code == 200
