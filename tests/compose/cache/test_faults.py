"""An HTTP upstream that fails in each way, for one and for many clients: the table in docs/compose.md."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ociserver import Handler, OCIError, Store
from ociserver.client import Client, RetryPolicy
from ociserver.compose import Cache
from tests.client.scripted import Reply, Scripted, scripted
from tests.compose.cache.upstream import MIB, REPOSITORY
from tests.serving.uvicorn_here import serve_here
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

CONTENT = random_bytes(MIB, seed=3)
DIGEST = digest_of(CONTENT)
HURRIED = RetryPolicy(attempts=2, backoff_s=0.001, max_wait_s=0.001)
TYPE = "application/vnd.oci.image.manifest.v1+json"
MANIFEST = b'{"schemaVersion":2}'
MOVED = b'{"schemaVersion":2,"annotations":{"moved":"yes"}}'
CLIENTS = 32

Got = tuple[httpx.Response, bytes, bool]
"""The status of an answer, the received bytes of its body, and whether the body was complete."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What upstream answers for a blob, and the client's result: a status, and the bytes of the answer.

    Args:
        row: its name in the table.
        reply: the answer to each request.
        status: of the answer.
        is_cut: the answer is truncated.
    """

    row: str
    reply: Callable[[], Reply]
    status: int
    is_cut: bool = False


FAULTS = [
    Fault(
        "is killed half-way, or truncates its answer",
        lambda: _blob(CONTENT[: MIB // 2], len(CONTENT), cut=True),
        200,
        is_cut=True,
    ),
    Fault(
        "sends content that does not match its digest",
        lambda: _blob(CONTENT[:-1] + b"?", len(CONTENT)),
        200,
        is_cut=True,
    ),
    Fault("answers 429", lambda: Reply(429, {"Retry-After": "7"}), 429),
    Fault("cannot be reached", lambda: Reply(None), 502),
    Fault("answers 503", lambda: Reply(503), 503),
]


def _blob(body: bytes, length: int, *, cut: bool = False) -> Reply:
    return Reply(200, {"Content-Length": str(length)}, body, cut=cut)


def _documented() -> dict[str, tuple[str, str]]:
    """The rows of the table: the fault, the result for a blob, and the result for a tag."""
    text = (Path(__file__).parents[3] / "docs" / "compose.md").read_text()
    table = text.partition("| if upstream |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: (row[1], row[2]) for row in rows}


async def get(site: str, path: str, clients: int = 1) -> list[Got]:
    """The results of this number of concurrent clients."""

    async def one(client: httpx.AsyncClient) -> Got:
        body = b""
        async with client.stream("GET", f"{site}/v2/{REPOSITORY}/{path}") as answer:
            try:
                async for piece in answer.aiter_raw():
                    body += piece
            except httpx.RemoteProtocolError:
                return answer, body, False
            return answer, body, True

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        return list(await asyncio.gather(*(one(client) for _ in range(clients))))


@pytest.mark.parametrize("clients", [1, CLIENTS])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.row)
async def test_the_answer_for_a_blob(tmp_path: Path, fault: Fault, clients: int) -> None:
    store = Store(tmp_path / "data", lax_child_references=True)
    async with scripted() as upstream, serve_here(Handler(_cache(upstream, store))) as site:
        # A request that arrives after the others got their error starts a new download.
        upstream.will(*[fault.reply() for _ in range(4 * clients + 4)])
        for answer, body, is_whole in await get(site.url, f"blobs/{DIGEST}", clients):
            assert (answer.status_code, is_whole) == (fault.status, not fault.is_cut)
            if fault.is_cut:
                assert CONTENT.startswith(body)
                assert len(body) < len(CONTENT)
            if fault.status == 429:
                assert answer.headers["Retry-After"] == "7"
        documented = _documented()[fault.row][0]
        assert documented == ("a truncated answer" if fault.is_cut else str(fault.status))
        with pytest.raises(OCIError):
            await store.resolve_blob(REPOSITORY, DIGEST)
        # Nothing is left of the failure. The correct blob is requested once.
        upstream.replies.clear()
        upstream.seen.clear()
        upstream.will(_blob(CONTENT, len(CONTENT)))
        assert [body for _, body, _ in await get(site.url, f"blobs/{DIGEST}", clients)] == [CONTENT] * clients
        assert len(upstream.seen) == 1


async def test_a_slow_upstream_is_asked_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", lax_child_references=True)
    async with scripted() as upstream, serve_here(Handler(_cache(upstream, store))) as site:
        # Longer than the timeout for requests that have an older answer.
        upstream.will(Reply(200, {}, CONTENT, delay_s=0.6))
        for answer, body, is_whole in await get(site.url, f"blobs/{DIGEST}", CLIENTS):
            assert (answer.status_code, body, is_whole) == (200, CONTENT, True)
        assert len(upstream.seen) == 1
        assert _documented()["is slow"][0] == "as it arrives"


MOVED_HEAD = Reply(200, {"Content-Type": TYPE, "Docker-Content-Digest": digest_of(MOVED), "Content-Length": "1"})


@pytest.mark.parametrize("clients", [1, CLIENTS])
@pytest.mark.parametrize(
    "row, replies",
    [
        (
            "is killed half-way, or truncates its answer",
            [MOVED_HEAD, *[Reply(200, {"Content-Length": "49"}, MOVED[:9], cut=True)] * 2],
        ),
        ("sends content that does not match its digest", [MOVED_HEAD, Reply(200, {"Content-Type": TYPE}, b"{}")]),
        ("answers 429", [Reply(429)] * 2),
        ("answers 503", [Reply(503)] * 2),
        ("cannot be reached", [Reply(None)] * 2),
        ("is slow", [Reply(200, {"Docker-Content-Digest": digest_of(b"x"), "Content-Length": "1"}, delay_s=5)] * 2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_answer_for_a_known_tag(tmp_path: Path, row: str, replies: list[Reply], clients: int) -> None:
    store = Store(tmp_path / "data", lax_child_references=True)
    async with scripted() as upstream, serve_here(Handler(_cache(upstream, store))) as site:
        upstream.will(Reply(200, {"Content-Type": TYPE, "Docker-Content-Digest": digest_of(MANIFEST)}, MANIFEST))
        [(first, _, _)] = await get(site.url, "manifests/latest")
        assert "Warning" not in first.headers
        upstream.will(*replies * (clients + 1))
        documented = _documented()[row][1]
        for answer, body, _ in await get(site.url, "manifests/latest", clients):
            if documented == "502":
                assert answer.status_code == 502
            else:
                assert documented == "the old manifest, with a `Warning`"
                assert (answer.status_code, body) == (200, MANIFEST)
                assert "upstream does not answer" in answer.headers["Warning"]
        with pytest.raises(OCIError):
            await store.resolve_manifest(REPOSITORY, digest_of(MOVED))


def _cache(upstream: Scripted, store: Store) -> Cache:
    return Cache(Client(upstream.url, retries=HURRIED), store, tag_lifetime=0, upstream_timeout=0.3, retry_after=0)
