"""The cache in production: `ociserver serve --config` with several workers, in front of `ociserver serve`."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import anyio.to_thread
import pytest

from ociserver import Descriptor, Handler, OCIError, Store
from ociserver.client import Client
from tests.client.scripted import Reply, scripted
from tests.compose.cache.upstream import MIB, REPOSITORY, Upstream, push, until
from tests.serving.uvicorn_here import serve_here
from tests.support.images import digest_of, random_bytes
from tests.support.server import PROGRAM, Server, serve

pytestmark = pytest.mark.anyio

CLIENTS = 32
SIZE = 1024 * MIB if os.environ.get("FULL_TESTS") else 128 * MIB
LAYERS = 4


def describe(folder: Path, upstream: str, settings: str = "") -> Path:
    """Make the configuration file of a cache, in a new folder. `settings` are further lines."""
    folder.mkdir(exist_ok=True)
    file = folder / "registry.toml"
    file.write_text(
        f'[registry]\nkind = "cache"\nlocal-repositories = ["team/*"]\nlocal = {{ kind = "store", data = "data" }}\n'
        f'upstream = {{ kind = "client", url = "{upstream}" }}\n{settings}'
    )
    return file


def pull(server: Server, digest: str) -> tuple[str, int]:
    """The digest and the size of the blob that a client gets."""
    hasher, size, buffer = hashlib.sha256(), 0, bytearray(MIB)
    with closing(HTTPConnection(server.host, server.port, timeout=120)) as connection:
        connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
        with connection.getresponse() as answer:
            assert answer.status == 200
            while count := answer.readinto(buffer):
                hasher.update(memoryview(buffer)[:count])
                size += count
    return f"sha256:{hasher.hexdigest()}", size


def asked(server: Server, digest: str) -> int:
    """How often a server was asked for a blob, from its access log."""
    return len(re.findall(f'"GET /v2/{REPOSITORY}/blobs/{digest}"', server.log.read_text()))


async def fill_upstream(url: str, size: int, seed: int) -> str:
    piece, count = random_bytes(MIB, seed), size // MIB
    hasher = hashlib.sha256()
    for _ in range(count):
        hasher.update(piece)
    digest = f"sha256:{hasher.hexdigest()}"

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield piece

    async with Client(url) as client:
        await client.push_blob(REPOSITORY, Descriptor("application/x", digest, size), chunks())
    return digest


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """An upstream, and a cache with two workers in front of it."""
    (tmp_path / "upstream").mkdir()
    with serve(["--data", str(tmp_path / "upstream" / "data"), "--access-log"], tmp_path / "upstream") as upstream:
        file = describe(tmp_path / "cache", upstream.url)
        with serve(["--config", str(file), "--workers", "2"], tmp_path / "cache") as cache:
            yield upstream, cache


async def test_clients_of_two_workers_share_one_request(two: tuple[Server, Server]) -> None:
    upstream, cache = two
    digests = [await fill_upstream(upstream.url, SIZE // LAYERS, seed) for seed in range(LAYERS)]

    def image(_: int) -> list[tuple[str, int]]:
        return [pull(cache, digest) for digest in digests]

    def everybody() -> list[list[tuple[str, int]]]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(image, range(CLIENTS)))

    wanted = [(digest, SIZE // LAYERS) for digest in digests]
    assert await anyio.to_thread.run_sync(everybody) == [wanted] * CLIENTS
    assert [asked(upstream, digest) for digest in digests] == [1] * LAYERS


@asynccontextmanager
async def slow_upstream() -> AsyncIterator[tuple[Upstream, str]]:
    upstream = Upstream()
    async with serve_here(Handler(upstream)) as site:
        yield upstream, site.url


@contextmanager
def doomed(file: Path) -> Iterator[tuple[subprocess.Popen[bytes], Server]]:
    """A cache in a separate process group, which the test can kill."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = file.parent / "doomed.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*PROGRAM, "serve", "--config", str(file), "--port", str(port)],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _wait_for(port)
            yield process, Server("127.0.0.1", port, process.pid, log)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the cache did not start")


def take_until_it_breaks(server: Server, digest: str, kill: Iterator[None]) -> int:
    connection = HTTPConnection(server.host, server.port, timeout=30)
    connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    size = len(answer.read(MIB))
    next(kill)
    with pytest.raises((IncompleteRead, ConnectionError)):
        answer.read()
    answer.close()
    connection.close()
    return size


async def test_a_kill_during_a_download_leaves_no_partial_blob(tmp_path: Path) -> None:
    content = random_bytes(4 * MIB, seed=1)
    async with slow_upstream() as (upstream, url):
        digest = await push(upstream.memory, REPOSITORY, content)
        upstream.gate.clear()
        file = describe(tmp_path / "cache", url)
        with doomed(file) as (process, server):

            def kill() -> Iterator[None]:
                os.killpg(process.pid, signal.SIGKILL)
                yield

            taken = await anyio.to_thread.run_sync(partial(take_until_it_breaks, server, digest, kill()))
        assert taken == MIB
        async with Store(tmp_path / "cache" / "data") as store:
            with pytest.raises(OCIError):
                await store.resolve_blob(REPOSITORY, digest)
        upstream.gate.set()
        with serve(["--config", str(file)], tmp_path) as server:
            assert await anyio.to_thread.run_sync(pull, server, digest) == (digest, len(content))
        checked = await anyio.run_process(
            [sys.executable, "-m", "ociserver", "check", "--data", str(tmp_path / "cache" / "data")], check=False
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr
    assert upstream.asked[f"blob {digest}"] == 2
    assert digest_of(content) == digest


async def test_a_truncated_answer_is_one_line_of_the_log(tmp_path: Path) -> None:
    """A failure of upstream is not an error of the server, so it logs no traceback, which would fail the test."""
    content = random_bytes(MIB, seed=3)
    async with scripted() as upstream:
        upstream.otherwise = lambda _: Reply(200, {"Content-Length": str(MIB)}, content[: MIB // 2], cut=True)
        file = describe(tmp_path / "cache", upstream.url)
        with serve(["--config", str(file)], tmp_path) as server:
            _, size = await anyio.to_thread.run_sync(pull, server, digest_of(content))
            assert size < MIB
            await until(lambda: "broke off" in server.log.read_text())
