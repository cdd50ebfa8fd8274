"""The output of `ociserver collect`."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from click.testing import CliRunner

from ociserver import Store
from ociserver.cli import main
from tests.contract.contents import push_blob, push_manifest

ALL = ("--delete-untagged-after", "1h", "--upload-timeout", "1h", "--unreferenced-after", "1h", "--grace", "0s")


def test_the_singular_for_one_of_each(tmp_path: Path) -> None:
    async def fill() -> None:
        async with Store(tmp_path) as store:
            await push_blob(store, b"blob")
            await push_manifest(store, b"{}", "text/plain")
            await (await store.push_blob_chunked("other")).aclose()

    asyncio.run(fill())
    with closing(sqlite3.connect(tmp_path / "registry.db")) as database, database:
        database.executescript(
            "UPDATE links SET renewed = 0; UPDATE manifests SET renewed = 0; UPDATE uploads SET touched = 0"
        )
    said = CliRunner().invoke(main, ["collect", "--data", str(tmp_path), *ALL])
    assert said.exit_code == 0, said.output
    assert [" ".join(line.split()) for line in said.stdout.splitlines()[:3]] == [
        "1 manifest that nothing tags or references 2 B",
        "1 upload that nobody finished 0 B",
        "1 blob removed from a repository 4 B",
    ]
