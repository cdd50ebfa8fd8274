"""An open store, a second one on the same folder, like that of another process, and a database without a store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ociserver.store import Store
from ociserver.store.sqlite import SQLite


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def store(folder: Path) -> AsyncIterator[Store]:
    async with Store(folder) as store:
        yield store


@pytest.fixture
async def other(store: Store) -> AsyncIterator[Store]:
    """A store like that of another process: it shares only the folder."""
    async with Store(store.path) as other:
        yield other


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SQLite]:
    database = SQLite(tmp_path / "registry.db")
    await database.open()
    yield database
    await database.close()
