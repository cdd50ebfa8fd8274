"""The backends under test, each opened over a fresh, empty registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ociserver import Backend
from tests.contract.registries import REGISTRIES, Registry, Settings, Subject


def _where(*, writes: bool = False, deletes: bool = False) -> list[Registry]:
    return [r for r in REGISTRIES if (r.can.writes or not writes) and (r.can.deletes or not deletes)]


def _name(registry: Registry) -> str:
    return registry.name


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings() -> Settings:
    """How the registry behaves; a test that wants another one parametrises `settings`."""
    return Settings()


@pytest.fixture(params=REGISTRIES, ids=_name)
async def subject(request: pytest.FixtureRequest, tmp_path: Path, settings: Settings) -> AsyncIterator[Subject]:
    """Every backend there is, and where to put what it is to show."""
    subject: Subject = request.param.subject(tmp_path, settings)
    async with subject.backend:
        yield subject


@pytest.fixture(params=_where(writes=True), ids=_name)
async def writable(request: pytest.FixtureRequest, tmp_path: Path, settings: Settings) -> AsyncIterator[Backend]:
    """Every backend that can be written to."""
    async with request.param.subject(tmp_path, settings).backend as backend:
        yield backend


@pytest.fixture(params=_where(writes=True, deletes=True), ids=_name)
async def backend(request: pytest.FixtureRequest, tmp_path: Path, settings: Settings) -> AsyncIterator[Backend]:
    """Every backend that does everything."""
    async with request.param.subject(tmp_path, settings).backend as backend:
        yield backend
