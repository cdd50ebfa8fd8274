"""Starts the servers that the cases run against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.cases.application import Application
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site
from tests.serving.uvicorn_thread import serve_with_uvicorn
from tests.support import postgres


@pytest.fixture(scope="session")
def cases_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The server with this name, which runs `tests.cases.application`."""
    with contextlib.suppress(pytest.skip.Exception):
        postgres.shared()  # here, so that the server uses it too, and does not start another one
    if request.param == "uvicorn":
        with serve_with_uvicorn(Application(), lifespan="on") as site:
            yield site
    else:
        log = tmp_path_factory.mktemp("cases") / "granian.log"
        with serve_with_granian("tests.cases.application:application", log) as site:
            yield site
