"""What people who run a registry do with a store over PostgreSQL: look at its figures, and back it up."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest

from ociserver import OCIError, Store
from ociserver.meter import Figures
from ociserver.store import StoreError
from ociserver.store.backup import backup
from ociserver.store.postgres import PostgreSQL
from ociserver.store.transaction import Transaction
from tests.contract.contents import REPOSITORY, push_image

pytestmark = pytest.mark.anyio


async def test_figures(url: str, tmp_path: Path) -> None:
    """In the thread of the event loop, in another one, and while the store is not open."""
    store = Store(tmp_path / "data", database=PostgreSQL(url))
    assert store.figures() == Figures(0, 0, 0, 0)
    large = os.urandom(100_000)
    async with store:
        await push_image(store, "v1", config=b"{}", layers=[large, b"small"])
        upload = await store.push_blob_chunked(REPOSITORY)
        await upload.aclose()
        expected = Figures(blobs=3, blob_bytes=100_000 + 2 + 5, manifests=1, uploads=1)
        assert store.figures() == expected
        assert await asyncio.to_thread(store.figures) == expected
    assert store.figures() == expected


@pytest.mark.parametrize("database", ["none", "postgresql"])
def test_figures_of_a_database_that_is_not_there(tmp_path: Path, database: str) -> None:
    there = PostgreSQL(f"postgresql://registry@/registry?host={tmp_path}") if database == "postgresql" else None
    with pytest.raises(StoreError, match="cannot be read"):
        Store(tmp_path / "data", database=there).figures()


def test_figures_do_not_show_a_password(tmp_path: Path) -> None:
    store = Store(tmp_path / "data", database=PostgreSQL("postgresql://registry:se/cret@host:5432/registry"))
    with pytest.raises(StoreError, match="not valid") as caught:
        store.figures()
    assert "cret" not in str(caught.value)


async def test_a_check_that_fails(database: PostgreSQL) -> None:
    def check() -> None:
        raise OCIError("DENIED", "no space")

    def insert(name: str) -> Transaction[None]:
        yield "INSERT INTO repositories (name) VALUES (?)", (name,)

    def names() -> Transaction[list[str]]:
        rows = yield "SELECT name FROM repositories", ()
        return [name for (name,) in rows]

    await database.write(partial(insert, "checked"), check=lambda: None)
    with pytest.raises(OCIError, match="no space"):
        await database.write(partial(insert, "refused"), check=check)
    assert await database.read(names()) == ["checked"]


async def test_a_backup_is_refused(url: str, tmp_path: Path) -> None:
    async with Store(tmp_path / "data", database=PostgreSQL(url)) as store:
        with pytest.raises(StoreError, match=r"first save that database .*pg_dump.* then copy .*/data/blobs"):
            await backup(store, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
