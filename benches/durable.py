"""Runs `ociserver serve --data` without its access log, on a folder that is filled before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ociserver import Store
from tests.serving.site import Site
from tests.support.server import PROGRAM, serve


@contextmanager
def serve_store(folder: Path, *arguments: str, program: Sequence[str] = PROGRAM) -> Iterator[Site]:
    """Serve `folder / "data"` until the block ends, synced to the disk as by default."""
    flags = ["--data", str(folder / "data"), "--no-access-log", "--collect-every", "0", "--lax-child-references"]
    with serve([*flags, *arguments], folder, program=program) as server:
        yield Site(server.host, server.port, server.pid)


def prepare(folder: Path, fill: Callable[[Store], Awaitable[None]]) -> None:
    """Fill `folder / "data"` without syncing."""

    async def run() -> None:
        async with Store(folder / "data", durability="off", lax_child_references=True) as store:
            await fill(store)

    asyncio.run(run())


def peak_memory(site: Site) -> float:
    """Return the peak resident memory of the server in MiB (Linux)."""
    status = Path(f"/proc/{site.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
