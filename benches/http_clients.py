"""Measures HTTP libraries as `ociserver.client` would use them: `python -m benches.http_clients`.

Each library runs in its own process against the same granian, in alternating rounds. See benches/NOTES.md. The
libraries that were not chosen are not dependencies: `pip install httpx2 pyreqwest` to measure them, too.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from statistics import median
from typing import Any, Final, Protocol

from benches.servers import serve

MIB: Final = 1024 * 1024
LIBRARIES: Final = ("aiohttp", "httpx", "httpx2", "pyreqwest")
AT_ONCE: Final = 32
"""Number of concurrent small requests in the concurrent part."""

_PIECE: Final = bytes(256 * 1024)
"""Bytes of a piece of an upload, about as large as the pieces that the handler gives to a backend."""


class Library(Protocol):
    """The operations of a library that are measured. Downloads are streamed and counted, uploads are sent in pieces."""

    async def open(self, stack: AsyncExitStack) -> None: ...

    async def get(self, url: str) -> int: ...

    async def put(self, url: str, pieces: AsyncIterator[bytes]) -> int: ...


class Aiohttp:
    async def open(self, stack: AsyncExitStack) -> None:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        self._session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, auto_decompress=False, read_bufsize=256 * 1024)
        )

    async def get(self, url: str) -> int:
        async with self._session.get(url) as response:
            return sum([len(piece) async for piece in response.content.iter_any()])

    async def put(self, url: str, pieces: AsyncIterator[bytes]) -> int:
        async with self._session.put(url, data=pieces) as response:
            await response.read()
            return response.status


class Httpx:
    def __init__(self, module: str = "httpx") -> None:
        self._module: Any = importlib.import_module(module)

    async def open(self, stack: AsyncExitStack) -> None:
        limits = self._module.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        self._client = await stack.enter_async_context(self._module.AsyncClient(limits=limits, timeout=60))

    async def get(self, url: str) -> int:
        async with self._client.stream("GET", url) as response:
            return sum([len(piece) async for piece in response.aiter_raw()])

    async def put(self, url: str, pieces: AsyncIterator[bytes]) -> int:
        response = await self._client.put(url, content=pieces)
        status: int = response.status_code
        return status


class Pyreqwest:
    async def open(self, stack: AsyncExitStack) -> None:
        module: Any = importlib.import_module("pyreqwest.client")
        self._client = await stack.enter_async_context(module.ClientBuilder().build())

    async def get(self, url: str) -> int:
        size = 0
        async with self._client.get(url).build_streamed() as response:
            while (piece := await response.body_reader.read_chunk()) is not None:
                size += len(piece)
        return size

    async def put(self, url: str, pieces: AsyncIterator[bytes]) -> int:
        response = await self._client.put(url).body_stream(pieces).build().send()
        status: int = response.status
        return status


MAKE: Final[dict[str, Callable[[], Library]]] = {
    "aiohttp": Aiohttp,
    "httpx": Httpx,
    "httpx2": lambda: Httpx("httpx2"),
    "pyreqwest": Pyreqwest,
}


async def _pieces(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // len(_PIECE)):
        yield _PIECE


async def _run(name: str, chunks: str, drop: str, size: int, requests: int) -> dict[str, float]:
    """Run one round of one library: rates, processor time, and peak memory."""
    library = MAKE[name]()
    figures: dict[str, float] = {}

    async def timed(what: str, count: float, work: Awaitable[object]) -> None:
        began, before = time.perf_counter(), time.process_time()
        await work
        figures[what] = count / (time.perf_counter() - began)
        figures[f"{what} cpu"] = (time.process_time() - before) / count

    async def down() -> None:
        assert await library.get(f"{chunks}/{size}") == size

    async def up() -> None:
        assert await library.put(drop, _pieces(size)) == 201

    async def small(count: int) -> None:
        for _ in range(count):
            assert await library.get(f"{chunks}/500") == 500

    async with AsyncExitStack() as stack:
        await library.open(stack)
        await small(50)
        await timed("one at a time", requests, small(requests))
        await timed("at once", requests, asyncio.gather(*(small(requests // AT_ONCE) for _ in range(AT_ONCE))))
        figures["small KiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await timed("down", size, down())
        figures["down KiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await timed("up", size, up())
        figures["up KiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures


def _row(name: str, rounds: list[dict[str, float]]) -> str:
    middle = {what: median(figures[what] for figures in rounds) for what in rounds[0]}
    cells = [
        f"{middle['down'] / 1e6:,.0f} MB/s ({middle['down cpu'] * 1e9:.2f} ns/B)",
        f"{middle['up'] / 1e6:,.0f} MB/s ({middle['up cpu'] * 1e9:.2f} ns/B)",
        f"{middle['one at a time']:,.0f}/s ({middle['one at a time cpu'] * 1e6:.0f} us)",
        f"{middle['at once']:,.0f}/s ({middle['at once cpu'] * 1e6:.0f} us)",
        f"{middle['small KiB'] / 1024:.0f}, {middle['down KiB'] / 1024:.0f}, {middle['up KiB'] / 1024:.0f} MiB",
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.http_clients", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each library (%(default)s)")
    parser.add_argument("--mib", type=int, default=256, help="size of the large blob (%(default)s)")
    parser.add_argument("--requests", type=int, default=3200, help="small requests of each kind (%(default)s)")
    parser.add_argument("--one", nargs=3, metavar=("LIBRARY", "CHUNKS", "DROP"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        name, chunks_url, drop_url = arguments.one
        print(json.dumps(asyncio.run(_run(name, chunks_url, drop_url, arguments.mib * MIB, arguments.requests))))
        return 0
    names = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with serve("benches.baseline:chunks") as chunks, serve("benches.baseline:drop") as drop:
        for number in range(arguments.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                command = [sys.executable, "-m", "benches.http_clients", "--one", name, chunks.url, drop.url]
                command += ["--mib", str(arguments.mib), "--requests", str(arguments.requests)]
                done = subprocess.run(command, check=False, capture_output=True, timeout=300)
                if done.returncode == 0:
                    rounds[name].append(json.loads(done.stdout))
                else:
                    # Report a library that fails, and continue.
                    print(
                        f"{name} exited with status {done.returncode}: {done.stderr.decode()[-500:]}", file=sys.stderr
                    )
    print("| library | down | up | one at a time | 32 at once | peak memory after small, down, up |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in names:
        if rounds[name]:
            print(_row(f"{name}, {len(rounds[name])} of {arguments.rounds} rounds", rounds[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
