"""That it was done as often as is claimed; the last of this folder's tests."""

from __future__ import annotations

import os

import pytest

from tests.store.crash import kills

WANTED = kills.WANTED_IN_FULL if os.environ.get("FULL_TESTS") else kills.WANTED


def test_there_were_enough_kills(request: pytest.FixtureRequest) -> None:
    folder = request.path.parent
    run = {item.path.name for item in request.session.items if item.path.parent == folder}
    if run != {path.name for path in folder.glob("test_*.py")} or request.config.option.keyword:
        pytest.skip("not all of them were run")
    assert kills.total() >= WANTED
