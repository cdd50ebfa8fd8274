"""Fixtures of all tests: the server as a process, in each of its setups."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from typing import Final

import pytest

from ociserver.cli.workers import CORES_EACH
from tests.support.bucket import Versity, versity
from tests.support.server import Server
from tests.support.servers import SETUPS, TWO_NODES, Setup, TwoNodes
from tests.support.summary import lines

collect_ignore: Final = [] if os.environ.get("FULL_TESTS") else ["test_support_azurite.py"]
"""Only with FULL_TESTS, because its installation takes half a minute."""


def _limit_cores() -> None:
    """Use so few cores that a server has one process by default, because most tests look at that process."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: 2 * CORES_EACH - 1])


_limit_cores()


@pytest.fixture(scope="session")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two nodes in turn. They take long to start, so all files share them."""
    with TWO_NODES.start(tmp_path_factory.mktemp("server-two-nodes")) as server:
        yield server


@pytest.fixture(scope="module", params=[*SETUPS, TWO_NODES], ids=lambda setup: setup.name)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server, in each setup of `tests.support.servers`, shared by the tests of one file."""
    setup: Setup | TwoNodes = request.param
    if setup is TWO_NODES:
        yield request.getfixturevalue("two_nodes")
        return
    with setup.start(tmp_path_factory.mktemp(f"server-{setup.name}")) as server:
        yield server


@pytest.fixture
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versity]:
    """An object store of the test's own, with an empty bucket."""
    with versity(tmp_path_factory.mktemp("bucket")) as store:
        yield store


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the server printed beside a test that failed against it."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        servers = (value for value in item.funcargs.values() if isinstance(value, Server))
        report.sections += [("server log", server.log_tail()) for server in servers]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded for the end of the run."""
    reports = (report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, []))
    said = list(lines(report for report in reports if report.when == "call"))
    if said:
        terminalreporter.section("what was run")
    for line in said:
        terminalreporter.line(line)
