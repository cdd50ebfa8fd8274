"""Benchmarks of the handler without a server: the cost of Python for a request. `make bench` runs it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import ociserver
from benches.contents import MEDIA_TYPE, REPOSITORY, digest_of, manifest, small_blob, tag
from ociserver import Backend, Descriptor
from ociserver.types import Message, Scope

MANIFESTS = 200
BLOB = small_blob(0)
# Roughly what wrk and Docker send.
HEADERS = [(b"host", b"localhost:5000"), (b"user-agent", b"docker/28.2.2"), (b"accept", b"*/*")]

ENDPOINTS = {
    "GET manifest by tag": ("GET", f"/v2/{REPOSITORY}/manifests/{tag(7)}"),
    "HEAD manifest by tag": ("HEAD", f"/v2/{REPOSITORY}/manifests/{tag(7)}"),
    "GET manifest by digest": ("GET", f"/v2/{REPOSITORY}/manifests/{digest_of(manifest(7))}"),
    "GET blob of 4 KiB": ("GET", f"/v2/{REPOSITORY}/blobs/{digest_of(BLOB)}"),
    "HEAD blob": ("HEAD", f"/v2/{REPOSITORY}/blobs/{digest_of(BLOB)}"),
    "GET 100 tags": ("GET", f"/v2/{REPOSITORY}/tags/list?n=100"),
    "404": ("GET", f"/v2/{REPOSITORY}/manifests/none"),
}

REQUESTS = 200
"""Requests in one measured run, so that the cost of entering the event loop is negligible."""


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    pass


@pytest.fixture(params=["memory", "store"])
def handler(request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, ociserver.Handler]]:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        backend: Backend = (
            ociserver.Memory(lax_child_references=True)
            if request.param == "memory"
            else ociserver.Store(folder, lax_child_references=True)
        )
        handler = ociserver.Handler(backend)
        runner.run(_fill(handler))
        yield runner, handler
        runner.run(handler.aclose())


async def _fill(handler: ociserver.Handler) -> None:
    await handler.__aenter__()
    await handler.backend.push_blob(
        REPOSITORY, Descriptor("application/octet-stream", digest_of(BLOB), len(BLOB)), _once(BLOB)
    )
    for number in range(MANIFESTS):
        await handler.backend.push_manifest(REPOSITORY, manifest(number), MEDIA_TYPE, tags=(tag(number),))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_request(benchmark: Any, handler: tuple[asyncio.Runner, ociserver.Handler], endpoint: str) -> None:
    """Measures `REQUESTS` requests together."""
    runner, application = handler
    method, url = ENDPOINTS[endpoint]
    path, _, query = url.partition("?")
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": HEADERS,
        "root_path": "",
        "client": ("127.0.0.1", 1),
    }

    async def requests() -> None:
        for _ in range(REQUESTS):
            await application(scope, _receive, _send)

    benchmark.group = f"{REQUESTS} times {endpoint}"
    benchmark(lambda: runner.run(requests()))
