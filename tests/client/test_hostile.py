"""A hostile upstream: whatever it answers, our client gets an answer with a code, and no traceback is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import h11
import pytest

from ociserver import Backend, Handler, Memory, Store
from ociserver._core import upload_path
from ociserver.client import Client, RetryPolicy
from ociserver.compose import Cache
from tests.client.hostile import (
    BLOB,
    DIGEST,
    FULL,
    MANIFEST_DIGEST,
    SPOILT,
    TEXT,
    UNUSABLE_TYPES,
    Spoil,
    document,
    good,
)
from tests.client.scripted import Reply as Given
from tests.client.scripted import Seen, scripted
from tests.handler.driver import Exchange, Reply, body_messages, make_scope
from tests.support.images import MANIFEST, digest_of

pytestmark = pytest.mark.anyio

Request = tuple[str, str, dict[str, str], bytes]

READS: list[Request] = [
    *[(method, f"manifests/{name}", {}, b"") for name in ("latest", MANIFEST_DIGEST) for method in ("GET", "HEAD")],
    *[(method, f"blobs/{DIGEST}", {}, b"") for method in ("GET", "HEAD")],
    ("GET", f"blobs/{DIGEST}", {"Range": "bytes=5-9"}, b""),
    ("GET", f"blobs/{DIGEST}", {"Range": "bytes=5-9,90-99"}, b""),
    ("GET", "tags/list", {}, b""),
    ("GET", f"referrers/{MANIFEST_DIGEST}", {}, b""),
]
UPLOAD = upload_path("a", "1").removeprefix("/v2/a/")
WRITES: list[Request] = [
    ("POST", "blobs/uploads/", {}, b""),
    ("POST", f"blobs/uploads/?digest={DIGEST}", {}, BLOB),
    ("POST", f"blobs/uploads/?mount={DIGEST}&from=other", {}, b""),
    ("PATCH", UPLOAD, {"Content-Range": f"0-{len(BLOB) - 1}"}, BLOB),
    ("GET", UPLOAD, {}, b""),
    ("PUT", f"{UPLOAD}?digest={DIGEST}", {}, BLOB),
    ("DELETE", UPLOAD, {}, b""),
    ("PUT", "manifests/latest", {"Content-Type": MANIFEST}, TEXT),
    ("PUT", f"manifests/{MANIFEST_DIGEST}?tag=a&tag=b", {"Content-Type": MANIFEST}, TEXT),
    ("DELETE", "manifests/latest", {}, b""),
    ("DELETE", f"blobs/{DIGEST}", {}, b""),
]


def client_of(url: str, folder: Path) -> Backend:
    return Client(url, retries=RetryPolicy(attempts=1))


def cache_in_memory(url: str, folder: Path) -> Backend:
    return Cache(client_of(url, folder), Memory(lax_child_references=True), tag_lifetime=0, retry_after=0)


def cache_in_store(url: str, folder: Path) -> Backend:
    store = Store(folder / "data", lax_child_references=True, durability="off")
    return Cache(client_of(url, folder), store, tag_lifetime=0, retry_after=0)


FRONTS: dict[str, Callable[[str, Path], Backend]] = {
    "client": client_of,
    "cache in a store": cache_in_store,
}
if FULL:
    FRONTS["cache in memory"] = cache_in_memory


async def ask(handler: Handler, repository: str, request: Request) -> Reply:
    """The answer to a request. It must be valid HTTP. Only a blob may be truncated."""
    method, path, headers, body = request
    exchange = Exchange(body_messages([body] if body else []))
    scope = make_scope(method, f"/v2/{repository}/{path}", [*headers.items(), ("content-length", str(len(body)))])
    try:
        await asyncio.wait_for(handler(scope, exchange.receive, exchange.send), 20)
    except Exception:
        assert exchange.reply.status in (200, 206), request
        assert not exchange.reply.complete, request
    reply = exchange.reply
    sent = [(name.encode(), value.encode("latin-1")) for name, value in reply.headers]
    h11.Response(status_code=reply.status, headers=sent)
    return reply


def spoilt_by(spoil: Spoil) -> Callable[[Seen], Given]:
    return lambda seen: spoil(seen, good(seen))


@pytest.mark.parametrize("group", SPOILT)
@pytest.mark.parametrize("front", FRONTS)
async def test_whatever_upstream_answers(
    front: str, group: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    requests = READS + WRITES if front == "client" else READS
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(scripted())
        handler = await stack.enter_async_context(Handler(FRONTS[front](upstream.url, tmp_path)))
        for number, (how, spoil) in enumerate(SPOILT[group].items()):
            repository, at = f"library/{number}", f"{group}: {how}"
            upstream.otherwise = spoilt_by(spoil)
            for request in requests:
                status = (await ask(handler, repository, request)).status
                assert 200 <= status < 600, (at, request)
                assert status != 500, (at, request)
                # A challenge of upstream to the cache must not become a challenge of the cache to its client.
                assert front == "client" or status not in (401, 403), (at, request)
            # When upstream is repaired, the server works again at once.
            upstream.otherwise = good
            for method in ("GET", "HEAD"):
                reply = await ask(handler, repository, (method, "manifests/latest", {}, b""))
                assert (reply.status, reply["content-type"]) == (200, MANIFEST), at
            reply = await ask(handler, repository, ("GET", f"blobs/{DIGEST}", {}, b""))
            assert (reply.status, reply.body, reply.complete) == (200, BLOB, True), at
            for record in caplog.records:
                assert record.exc_info is None, (at, record.getMessage())
                assert record.getMessage().isprintable(), (at, record.getMessage())
            caplog.clear()


async def test_an_upstream_that_is_not_spoilt(tmp_path: Path) -> None:
    async with scripted() as upstream, Handler(client_of(upstream.url, tmp_path)) as handler:
        upstream.otherwise = good
        for request in (*READS, *WRITES):
            assert (await ask(handler, "library/app", request)).status < 400, request


@pytest.mark.parametrize("what", UNUSABLE_TYPES)
@pytest.mark.parametrize("front", FRONTS)
async def test_a_manifest_whose_own_type_is_unusable(front: str, what: str, tmp_path: Path) -> None:
    """The media type in upstream's header is valid."""
    async with scripted() as upstream, Handler(FRONTS[front](upstream.url, tmp_path)) as handler:
        upstream.otherwise = spoilt_by(document(UNUSABLE_TYPES[what]))
        for reference in ("latest", digest_of(UNUSABLE_TYPES[what])):
            reply = await ask(handler, "library/app", ("GET", f"manifests/{reference}", {}, b""))
            assert reply.status == 502
