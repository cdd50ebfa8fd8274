"""`--redirect-pulls` and `--redirect-pushes`, as each client meets them: the bytes of blobs go past the server."""

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
    """Has the contents."""
    with SETUPS[0].start(tmp_path_factory.mktemp("far")) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Sends clients there."""
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
    """While the test runs the server is asked for blobs, and no blob passes."""
    start = len(server.log.read_bytes())
    yield
    # Lines are written when the answers have gone already.
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
    # Where it is sent has no TLS either, which it has to be told.
    options = ("--host", f"reg={upstream.address},tls=disabled")
    regctl.run(*options, "image", "copy", f"ocidir://{layout.path}:v1", image)
    regctl.run(*options, "image", "copy", image, f"ocidir://{tmp_path / 'out'}:v1")


def test_oras(server: Server, upstream: Server, oras: Client, tmp_path: Path) -> None:
    """It follows a pull, and does not push to another host."""
    (tmp_path / "in").write_bytes(LAYER)
    options = ("--plain-http", "--disable-path-validation")
    assert "different host" in oras.refused("push", *options, f"{server.address}/past/oras:v1", tmp_path / "in")
    oras.run("push", *options, f"{upstream.address}/past/oras:v1", tmp_path / "in")
    (tmp_path / "in").unlink()
    oras.run("pull", "--plain-http", "--allow-path-traversal", "--output", tmp_path, f"{server.address}/past/oras:v1")
    assert (tmp_path / "in").read_bytes() == LAYER
