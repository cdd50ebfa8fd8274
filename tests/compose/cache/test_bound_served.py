"""The bound in production conditions: two workers, many contents, and kills."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from ociserver import Backend, BlobReader, ByteRange, Descriptor, Handler, OCIError, Store
from ociserver.compose.cache.index import Index
from tests.compose.cache.disk import eventually_below, taken, watched
from tests.compose.cache.test_served import describe, doomed, pull
from tests.compose.cache.upstream import MIB, REPOSITORY, Upstream, push, until
from tests.serving.uvicorn_here import serve_here
from tests.support.images import digest_of, random_bytes
from tests.support.server import Server, serve, workers_of

pytestmark = pytest.mark.anyio

FULL = bool(os.environ.get("FULL_TESTS"))
CONTENTS, BOUND = (1000, 20 * MIB) if FULL else (60, 8 * MIB)
KILLS = 10 if FULL else 2
CLIENTS = 6


class Made(Backend):
    """A registry that generates contents on request."""

    def __init__(self, count: int) -> None:
        self.seeds = {digest_of(random_bytes(MIB, seed)): seed for seed in range(count)}

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        if digest not in self.seeds:
            raise OCIError("BLOB_UNKNOWN")
        return _Reader(digest, random_bytes(MIB, self.seeds[digest]))


class _Reader:
    location = None

    def __init__(self, digest: str, content: bytes) -> None:
        self.descriptor = Descriptor("application/x", digest, len(content))
        self.range = (0, len(content))
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), 128 * 1024):
            await checkpoint()
            yield self._content[start : start + 128 * 1024]

    async def aclose(self) -> None:
        """There is nothing to close."""


def pull_all(server: Server, digests: list[str]) -> None:
    """Pull all blobs. Kill a worker from time to time; its clients try again."""
    kill_at = {len(digests) * (number + 1) // (KILLS + 1) for number in range(KILLS)}
    count, lock = iter(range(len(digests))), threading.Lock()

    def one(digest: str) -> None:
        with lock:
            number = next(count)
        if number in kill_at:
            os.kill(min(workers_of(server)), signal.SIGKILL)
        for _ in range(20):
            with suppress(OSError, HTTPException, AssertionError):
                if pull(server, digest) == (digest, MIB):
                    return
        pytest.fail(f"{digest} could not be pulled")

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(one, digests))


async def test_the_folder_stays_below_the_bound(tmp_path: Path) -> None:
    upstream = Made(CONTENTS)
    data = tmp_path / "cache" / "data"
    async with serve_here(Handler(upstream)) as site:
        file = describe(tmp_path / "cache", site.url, f'max-size = "{BOUND // MIB}MiB"\n')
        with serve(["--config", str(file), "--workers", "2"], tmp_path) as server, watched(data) as peak:
            await anyio.to_thread.run_sync(pull_all, server, list(upstream.seeds))
            # Downloads in progress are extra, and so are those of a killed worker until the next worker starts.
            assert BOUND // 2 < peak.bytes <= BOUND + (1 + KILLS) * CLIENTS * (MIB + 4096)
            # This cleanup needs no request.
            assert await anyio.to_thread.run_sync(eventually_below, data, BOUND) <= BOUND
    async with Store(data) as store:
        index = Index(store)
        assert await index.total() <= BOUND
        # Each content of a MiB is a file of a MiB, so the counted size is the size on the disk.
        assert await index.total() == taken(data)


async def test_partial_files_of_killed_processes_are_deleted_at_the_next_start(tmp_path: Path) -> None:
    upstream = Upstream()
    upstream.gate.clear()
    kept, large = random_bytes(4 * MIB, seed=1), random_bytes(16 * MIB, seed=2)
    digests = [await push(upstream.memory, REPOSITORY, content) for content in (kept, large)]
    data = tmp_path / "cache" / "data"
    async with serve_here(Handler(upstream)) as site:
        file = describe(tmp_path / "cache", site.url, 'max-size = "8MiB"\n')
        with ExitStack() as stack, doomed(file) as (process, server):
            # One download writes into an upload of the store, the other one into a spool. Neither is finished.
            threads = [threading.Thread(target=take, args=(server, digest)) for digest in digests]
            for thread in threads:
                thread.start()
            stack.callback(join, threads)
            await until(lambda: taken(data) >= 9 * MIB, 30)
            os.killpg(process.pid, signal.SIGKILL)
        assert taken(data) >= 9 * MIB
        upstream.gate.set()
        with serve(["--config", str(file)], tmp_path):
            assert await anyio.to_thread.run_sync(eventually_below, data, 0) == 0


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)


def take(server: Server, digest: str) -> None:
    with suppress(OSError, HTTPException), closing(HTTPConnection(server.host, server.port, timeout=60)) as connection:
        connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
        with connection.getresponse() as answer:
            answer.read()


async def test_two_workers_share_a_download_that_does_not_fit(tmp_path: Path) -> None:
    upstream = Upstream()
    upstream.gate.clear()
    content = random_bytes(16 * MIB, seed=3)
    digest = await push(upstream.memory, REPOSITORY, content)
    data = tmp_path / "cache" / "data"
    begun = threading.Barrier(17)

    def client(server: Server) -> str:
        with closing(HTTPConnection(server.host, server.port, timeout=60)) as connection:
            connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
            with connection.getresponse() as answer:
                first = answer.read(MIB)
                begun.wait(60)
                return digest_of(first + answer.read())

    async with serve_here(Handler(upstream)) as site:
        file = describe(tmp_path / "cache", site.url, 'max-size = "1MiB"\n')
        with serve(["--config", str(file), "--workers", "2"], tmp_path) as server, ThreadPoolExecutor(16) as pool:
            found = [pool.submit(client, server) for _ in range(16)]
            await anyio.to_thread.run_sync(begun.wait, 60)
            upstream.gate.set()
            got = await anyio.to_thread.run_sync(lambda: {one.result() for one in found})
            assert got == {digest}
            assert await anyio.to_thread.run_sync(partial(eventually_below, data, 0)) == 0
    assert upstream.asked[f"blob {digest}"] == 1
