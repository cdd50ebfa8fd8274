"""PgBouncer in transaction mode: each transaction may get another connection of the server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociserver import Store
from ociserver._core import digest_of
from ociserver.store.collect import Policy, collect
from ociserver.store.postgres import PostgreSQL
from tests.contract.contents import REPOSITORY, push_image, read_blob
from tests.support import postgres
from tests.support.tools import require_tool

pytestmark = pytest.mark.anyio


@pytest.fixture
def pooled(url: str) -> Iterator[str]:
    """The URL of the database behind a pooler with two connections."""
    program = require_tool("pgbouncer")
    with postgres.unprivileged_folder() as folder:
        (folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"registry = host={url.partition('host=')[2]} dbname=registry user=registry\n"
            "[pgbouncer]\n"
            f"unix_socket_dir = {folder}\nlisten_port = 6432\n"
            "auth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n"
        )
        user = "postgres" if os.getuid() == 0 else None
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, folder / "pgbouncer.ini"], user=user, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not (folder / ".s.PGSQL.6432").exists():
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield f"postgresql://registry@/registry?host={folder}&port=6432"
        finally:
            process.terminate()
            process.wait(30)


async def test_a_registry_behind_a_pooler(pooled: str, tmp_path: Path) -> None:
    database = PostgreSQL(pooled, is_pooled=True, max_connections=8)
    async with Store(tmp_path / "data", database=database) as store:
        layers = [os.urandom(30_000) for _ in range(16)]
        await asyncio.gather(*(push_image(store, f"v{number}", layers=[layer]) for number, layer in enumerate(layers)))
        assert len([tag async for tag in store.tags(REPOSITORY)]) == 16
        assert store.figures().manifests == 16
        contents = await asyncio.gather(*(read_blob(store, digest_of(layer)) for layer in layers))
        assert contents == layers
        for number in range(16):
            await store.delete_tag(REPOSITORY, f"v{number}")
        policy = Policy(unreferenced_after_s=0, grace_s=0, delete_untagged_after_s=0)
        report = await collect(store, policy)
        assert report.counts["untagged"] == 16
        assert [name async for name in store.repositories()] == []
