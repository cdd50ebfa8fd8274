"""A node is killed at every point where what is stored changes, and another one goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

import pytest

from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from ociserver.store.failpoint import VARIABLE
from tests.contract.contents import REPOSITORY, push_blob, read_blob
from tests.store.objects.looking import PREFIX, assert_known, change, rows, stored
from tests.store.objects.victim import store_of
from tests.support import postgres
from tests.support.bucket import Versity

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

FULL: Final = bool(os.environ.get("FULL_TESTS"))

OBJECTS: Final = {
    "object recorded",
    "multipart created",
    "multipart recorded",
    "tail stored",
    "object completed",
    "objects deleted",
}
"""The points of `ociserver.store.objects`. SQLite has two more for each transaction."""


def arm(folder: Path, kill_at: tuple[int, str] | None) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "armed").write_text("" if kill_at is None else f"{kill_at[0]} {kill_at[1]}")


async def run(arguments: list[str], folder: Path, *, kill_at: tuple[int, str] | None = None) -> tuple[int, list[str]]:
    """Run the node. Returns its exit status, and what it has acknowledged."""
    arm(folder, kill_at)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.store.objects.victim", *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, VARIABLE: str(folder)},
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode().split()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_at_every_point(bucket: Versity, tmp_path: Path, database: str) -> None:
    where = str(tmp_path / "data") if database == "sqlite" else postgres.emptied()
    arguments = [where, f"{bucket.url}/{PREFIX}", json.dumps(bucket.options())]
    async with store_of(*arguments) as other:
        # A part of the objects is old enough to be deleted in each run.
        await change(other, "INSERT INTO objects (key, since) VALUES ('gone', 0)")
        status, acknowledged = await run(arguments, tmp_path / "points")
        assert (status, acknowledged[-1]) == (0, "whole")
        reached = (tmp_path / "points" / "reached").read_text().splitlines()
        points = list(dict.fromkeys(reached))
        assert set(points) >= OBJECTS
        if not FULL:
            # SQLite's transactions are killed at in tests/store/crash too.
            points = [point for point in points if point in OBJECTS or "hold" in point or "keep_only" in point]
        for point in points:
            for count in range(1, reached.count(point) + 1 if FULL else 2):
                await change(other, "INSERT INTO objects (key, since) VALUES ('gone', 0) ON CONFLICT (key) DO NOTHING")
                status, acknowledged = await run(arguments, tmp_path / "points", kill_at=(count, point))
                assert status == -signal.SIGKILL, point
                if database == "postgresql":
                    # The lease of a collection that was killed ends by itself, in half a minute.
                    await change(other, "DELETE FROM ociserver_leases")
                await assert_known(other, bucket)
                mine = await push_blob(other, os.urandom(30_000), "other")
                for digest in acknowledged:
                    await other.resolve_blob(REPOSITORY, digest)
                    await read_blob(other, digest)
                await read_blob(other, mine, repository="other")
        assert (await check(other, content=True)).faults == []
        # Nothing stays that nothing needs.
        await other.delete_repository(REPOSITORY)
        await other.delete_repository("other")
        await collect(other, Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0))
        await change(other, "UPDATE objects SET since = 0")
        await collect(other, Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0))
        assert stored(bucket) == {}
        assert [upload for upload in bucket.uploads() if upload.parts] == []
        assert await rows(other, "SELECT * FROM objects") == []
