"""A cache over each kind of local registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ociserver import Backend, Memory, Store
from tests.compose.cache.upstream import Upstream


@pytest.fixture(params=["memory", "store"])
def make_local(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backend]:
    if request.param == "memory":
        return lambda: Memory(lax_child_references=True)
    return lambda: Store(tmp_path / "data", lax_child_references=True)


@pytest.fixture
def local(make_local: Callable[[], Backend]) -> Backend:
    return make_local()


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()
