"""Runs `ociserver serve --memory` without its access log."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benches.registry import fill
from ociserver.client import Client
from tests.serving.site import Site
from tests.support.server import serve


@contextmanager
def serve_memory() -> Iterator[Site]:
    """Serve until the block ends, with the contents that `fill` pushed."""
    # Lax, because the layers of the manifests do not exist, and nothing here reads them.
    flags = ["--memory", "--lax-child-references", "--no-access-log"]
    with tempfile.TemporaryDirectory() as folder, serve(flags, Path(folder)) as server:
        asyncio.run(_fill(server.url))
        yield Site(server.host, server.port, server.pid)


async def _fill(url: str) -> None:
    async with Client(url) as registry:
        await fill(registry)
