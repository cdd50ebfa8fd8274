"""The backends under test, each opened over a fresh, empty registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ociserver import Backend
from tests.contract.folders import fresh_folder
from tests.contract.registries import REGISTRIES, Registry, Settings, Subject


def _where(*, writes: bool = False, deletes: bool = False, local: bool = False) -> list[Registry]:
    return [
        registry
        for registry in REGISTRIES
        if (registry.can.writes or not writes)
        and (registry.can.deletes or not deletes)
        and not (registry.can.remote and local)
    ]


def _name(registry: Registry) -> str:
    return registry.name


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings() -> Settings:
    """The settings of the registry. A test that needs others parametrizes `settings`."""
    return Settings()


@pytest.fixture
def folder() -> Iterator[Path]:
    """The registry's own."""
    with fresh_folder() as folder:
        yield Path(folder)


@pytest.fixture(params=REGISTRIES, ids=_name)
async def subject(request: pytest.FixtureRequest, folder: Path, settings: Settings) -> AsyncIterator[Subject]:
    """Every backend there is, and where to put what it is to show."""
    subject: Subject = request.param.subject(folder, settings)
    async with subject.backend:
        yield subject


@pytest.fixture(params=_where(writes=True), ids=_name)
async def writable(request: pytest.FixtureRequest, folder: Path, settings: Settings) -> AsyncIterator[Backend]:
    """Every backend that can be written to."""
    async with request.param.subject(folder, settings).backend as backend:
        yield backend


@pytest.fixture(params=_where(writes=True, local=True), ids=_name)
async def local(request: pytest.FixtureRequest, folder: Path, settings: Settings) -> AsyncIterator[Backend]:
    """Every backend that has done a write when the write returns; see `Capabilities.remote`."""
    async with request.param.subject(folder, settings).backend as backend:
        yield backend


@pytest.fixture(params=_where(writes=True, deletes=True), ids=_name)
async def backend(request: pytest.FixtureRequest, folder: Path, settings: Settings) -> AsyncIterator[Backend]:
    """Every backend that does everything."""
    async with request.param.subject(folder, settings).backend as backend:
        yield backend
