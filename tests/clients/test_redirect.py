"""`--redirect-pulls` and `--redirect-pushes` with each client: the bytes of blobs do not pass the server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.images import Layout, random_bytes
from tests.support.relay import relay
from tests.support.server import Server
from tests.support.servers import SETUPS

LAYER = random_bytes(3 << 20, seed=9)
LOG_WRITTEN_S = 0.2
_REQUEST = re.compile(r'"(\w+) /v2/\S*/blobs/\S*" (\d+) in=(\d+) out=(\d+)')


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that has the contents."""
    with SETUPS[0].start(tmp_path_factory.mktemp("far")) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that redirects clients to `upstream`."""
    options = "redirect-pulls = true\nredirect-pushes = true"
    with relay(upstream.url, tmp_path_factory.mktemp("near"), options=options) as server:
        yield server


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "in")
    layout.tag(layout.image(LAYER, b"small"), "v1")
    return layout


@pytest.fixture(autouse=True)
def past(server: Server) -> Iterator[None]:
    """Check that the server gets requests for blobs during the test, and that no blob passes it."""
    start = len(server.log.read_bytes())
    yield
    # The server writes a line of the log after the answer.
    log = b""
    while log != (log := server.log.read_bytes()[start:]) or not log:
        time.sleep(LOG_WRITTEN_S)
    requests = [match.groups() for match in _REQUEST.finditer(log.decode())]
    assert {status for method, status, _, _ in requests if method == "GET"} == {"307"}
    assert {method for method, *_ in requests} <= {"GET", "HEAD", "POST"}
    assert {moved for _, _, *both in requests for moved in both} == {"0"}


def test_skopeo(server: Server, skopeo: Client, layout: Layout, tmp_path: Path) -> None:
    image = f"docker://{server.address}/past/skopeo:v1"
    skopeo.run("copy", "--dest-tls-verify=false", f"oci:{layout.path}:v1", image)
    skopeo.run("copy", "--src-tls-verify=false", image, f"oci:{tmp_path / 'out'}:v1")


def test_crane(server: Server, crane: Client, layout: Layout) -> None:
    crane.run("push", layout.path, f"{server.address}/past/crane:v1")
    assert crane.run("validate", "--remote", f"{server.address}/past/crane:v1").startswith("PASS")


def test_regctl(server: Server, upstream: Server, regctl: Client, layout: Layout, tmp_path: Path) -> None:
    image = f"{server.address}/past/regctl:v1"
    # The client must be told that the other server has no TLS either.
    options = ("--host", f"reg={upstream.address},tls=disabled")
    regctl.run(*options, "image", "copy", f"ocidir://{layout.path}:v1", image)
    regctl.run(*options, "image", "copy", image, f"ocidir://{tmp_path / 'out'}:v1")


def test_oras(server: Server, upstream: Server, oras: Client, tmp_path: Path) -> None:
    """oras follows the redirect of a pull, but does not push to another host."""
    (tmp_path / "in").write_bytes(LAYER)
    options = ("--plain-http", "--disable-path-validation")
    assert "different host" in oras.refused("push", *options, f"{server.address}/past/oras:v1", tmp_path / "in")
    oras.run("push", *options, f"{upstream.address}/past/oras:v1", tmp_path / "in")
    (tmp_path / "in").unlink()
    oras.run("pull", "--plain-http", "--allow-path-traversal", "--output", tmp_path, f"{server.address}/past/oras:v1")
    assert (tmp_path / "in").read_bytes() == LAYER
