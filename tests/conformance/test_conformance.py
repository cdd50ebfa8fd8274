"""The conformance suite of the OCI distribution spec, at the version that tests/tools/go.mod pins.

It runs against a server in each setup, without users and with a user who may do everything, and against one whose
backend is a client of a second server.

There must be no FAIL, no Error and no Skip, in the next version of the spec, with all features of the suite switched
on, and in 1.1.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.auth.registry import htpasswd
from tests.conformance.report import read_report
from tests.support.http import send
from tests.support.relay import relay
from tests.support.server import Server
from tests.support.servers import SETUPS, TWO_NODES, Setup, TwoNodes
from tests.support.summary import LINE, Record
from tests.support.tools import ROOT, require_tool


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the spec, the features to switch on, and the least results of a complete run."""

    name: str
    environment: dict[str, str]
    least_passed: int
    disabled: int


# Sparse images and indexes are off in every version. The counts detect a run that left out a part of the suite. In 1.1,
# cancelling an upload is disabled, once for each algorithm.
VERSIONS = (
    Version("dev", {"OCI_DATA_SPARSE": "true"}, least_passed=1032, disabled=0),
    Version("1.1", {}, least_passed=860, disabled=2),
)


# The suite pushes sparse images and indexes: their children were never pushed.
LAX = "--lax-child-references"


def _versions_of(*setups: Setup | TwoNodes) -> list[Any]:
    """The versions to run against each setup.

    Two workers differ from one in what they share, which is the same in both versions.
    """
    return [
        pytest.param(setup, version, id=f"{setup.name}-{version.name}")
        for setup in setups
        for version in (VERSIONS[:1] if setup is SETUPS[-1] else VERSIONS)
    ]


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that accepts manifests before their blobs and children."""
    with request.param.start(tmp_path_factory.mktemp("server"), LAX) as server:
        yield server


@pytest.fixture(scope="module", params=SETUPS[:2], ids=lambda setup: setup.name)
def through(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose backend is a client of a second one."""
    far, near = tmp_path_factory.mktemp("far"), tmp_path_factory.mktemp("near")
    with request.param.start(far, LAX) as upstream, relay(upstream.url, near) as server:
        yield server


@pytest.mark.parametrize("server, version", _versions_of(*SETUPS, TWO_NODES), indirect=["server"], scope="module")
def test_conformance(
    server: Server,
    version: Version,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Record,
) -> None:
    _run(server, version, tmp_path, request.node.callspec.id, record_property)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_conformance_through_a_client(
    through: Server,
    version: Version,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Record,
) -> None:
    _run(through, version, tmp_path, f"client-of-{request.node.callspec.id}", record_property)


# The suite mounts with the token for the target of the mount, and gets a token for the source when it is told to. It
# keeps that token, so the mount without a source after it finds the blob where the token allows to pull.
USERS = """
[auth.htpasswd]
file = "users.htpasswd"

[[auth.rules]]
users = ["conformance"]
repositories = ["conformance/*"]
allow = ["pull", "push", "delete"]
"""


@pytest.mark.parametrize("setup, version", _versions_of(*SETUPS))
def test_conformance_signed_in(
    setup: Setup, version: Version, tmp_path: Path, request: pytest.FixtureRequest, record_property: Record
) -> None:
    htpasswd(tmp_path, {"conformance": "a secret"})
    config = tmp_path / "registry.toml"
    config.write_text(USERS)
    with setup.start(tmp_path, LAX, "--config", str(config)) as server:
        assert send(server, "GET", "/v2/conformance/tags/list").status == 401
        name = f"signed-in-{request.node.callspec.id}"
        _run(server, version, tmp_path, name, record_property, user="conformance", password="a secret")


def test_conformance_past_a_client(tmp_path: Path, record_property: Record) -> None:
    """Redirects send clients to the second server for blobs."""
    far, near = tmp_path / "far", tmp_path / "near"
    far.mkdir()
    near.mkdir()
    options = "redirect-pulls = true\nredirect-pushes = true"
    with SETUPS[0].start(far, LAX) as upstream, relay(upstream.url, near, options=options) as server:
        _run(server, VERSIONS[0], tmp_path, "past-a-client", record_property)


def _run(
    server: Server, version: Version, folder: Path, name: str, record: Record, *, user: str = "", password: str = ""
) -> None:
    command = require_tool("conformance")
    # A new repository for each run, because the suite first requests what must not exist.
    repository = f"conformance/{version.name}"
    environment = {
        "OCI_CONFIGURATION": "",  # no file: only the following variables
        "OCI_REGISTRY": server.address,
        "OCI_TLS": "disabled",
        "OCI_VERSION": version.name,
        "OCI_REPO1": f"{repository}/repo1",
        "OCI_REPO2": f"{repository}/repo2",
        "OCI_RESULTS_DIR": str(folder),
        "OCI_USERNAME": user,
        "OCI_PASSWORD": password,
        **version.environment,
    }
    done = subprocess.run([command], env=environment, capture_output=True, text=True, timeout=100, check=False)

    report = read_report(folder / "junit.xml")
    record(LINE, f"conformance, {name}: {report}")
    _keep(folder / "report.html", name)
    troubles = "\n".join(report.troubles)
    assert (report.failed, report.errors, report.skipped) == (0, 0, 0), f"{report}\n{troubles}"
    assert done.returncode == 0, done.stderr
    assert report.disabled == version.disabled, f"{report}\n{troubles}"
    assert report.passed >= version.least_passed, f"only {report}: was all of the suite run?"


def _keep(report: Path, name: str) -> None:
    """Copy the report of the suite, with every request and answer, into results/."""
    folder = ROOT / "results" / "conformance"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.html").write_bytes(report.read_bytes())
