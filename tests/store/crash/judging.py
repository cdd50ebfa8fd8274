"""What a folder has to be like after its server was killed."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from ociserver.store import Store
from ociserver.store.check import Checked, check
from ociserver.store.collect import Policy, collect
from tests.support.aging import age_files

EVERYTHING = Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0)


def findings(data: Path) -> Checked:
    """What a check finds that reads every byte, beside the server or without one."""

    async def look() -> Checked:
        async with Store(data) as store:
            return await check(store, content=True)

    return asyncio.run(look())


def assert_nothing_lost(data: Path) -> None:
    """A crash leaves bytes that nothing links at worst."""
    checked = findings(data)
    assert {finding.kind for finding in checked.findings} <= {"unlinked bytes"}, checked.findings


def assert_all_is_freed(data: Path) -> None:
    """After a collection that knows no patience, what is stored is what is linked."""

    async def free() -> Checked:
        async with Store(data) as store:
            await collect(store, EVERYTHING)
            return await check(store, content=True)

    with closing(sqlite3.connect(data / "registry.db", timeout=30, isolation_level=None)) as database:
        for table, column in (("links", "renewed"), ("copies", "idle_since"), ("uploads", "touched")):
            database.execute(f"UPDATE {table} SET {column} = {column} - 100000")  # noqa: S608
    age_files(data, 100_000)
    assert asyncio.run(free()).findings == []
