"""Starts the servers that the cases are run over, and prints how many of them passed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cases.application import Application
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site
from tests.serving.uvicorn_thread import serve_with_uvicorn

RUN = pytest.StashKey[dict[str, dict[str, bool]]]()


@pytest.fixture(scope="session", params=["uvicorn", "granian"])
def cases_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server of `tests.cases.application`."""
    if request.param == "uvicorn":
        with serve_with_uvicorn(Application(), lifespan="on") as site:
            yield site
    else:
        log = tmp_path_factory.mktemp("cases") / "granian.log"
        with serve_with_granian("tests.cases.application:application", log) as site:
            yield site


@pytest.fixture
def cases_run(request: pytest.FixtureRequest) -> dict[str, bool]:
    """Where the test of a case notes whether it passed: one such table for each backend over each server."""
    assert isinstance(request.node, pytest.Function)
    params = request.node.callspec.params
    stack = f"{params['registry']} over {params['cases_site']}"
    return request.config.stash.setdefault(RUN, {}).setdefault(stack, {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    stacks = config.stash.get(RUN, {})
    if stacks:
        terminalreporter.section("cases")
    for stack, cases in stacks.items():
        terminalreporter.line(f"{stack}: {sum(cases.values())} of {len(cases)}")
