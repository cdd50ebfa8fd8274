"""helm's registry package: charts, their provenance, and versions that are not valid tags."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.http import send
from tests.support.images import MANIFEST, tar_of
from tests.support.server import Server
from tests.support.servers import SEVERAL_PROCESSES

pytestmark = pytest.mark.parametrize("server", SEVERAL_PROCESSES, ids=lambda setup: setup.name, indirect=True)


def test_chart_push_and_pull(server: Server, helm: Client, tmp_path: Path) -> None:
    chart = _chart(tmp_path, "1.2.3")
    reference = f"{server.address}/helm/charts/example:1.2.3"
    helm.run("push", chart, reference)
    helm.run("pull", reference, tmp_path)
    assert (tmp_path / "chart.tgz").read_bytes() == chart.read_bytes()
    assert not (tmp_path / "chart.tgz.prov").exists()

    pushed = send(server, "GET", "/v2/helm/charts/example/manifests/1.2.3")
    assert pushed.headers["Content-Type"] == MANIFEST
    assert json.loads(pushed.body)["config"]["mediaType"] == "application/vnd.cncf.helm.config.v1+json"


def test_provenance(server: Server, helm: Client, tmp_path: Path) -> None:
    provenance = tmp_path / "signed"
    provenance.write_bytes(b"-----BEGIN PGP SIGNED MESSAGE-----\n")
    reference = f"{server.address}/helm/signed/example:1.2.3"
    helm.run("push", _chart(tmp_path, "1.2.3"), reference, provenance)
    helm.run("pull", reference, tmp_path)
    assert (tmp_path / "chart.tgz.prov").read_bytes() == provenance.read_bytes()


def test_versions(server: Server, helm: Client, tmp_path: Path) -> None:
    """A tag cannot contain a plus, so the client replaces it with an underscore."""
    repository = f"{server.address}/helm/versions/example"
    for version in ("1.10.0", "1.9.0", "1.9.1+build.4"):
        helm.run("push", _chart(tmp_path, version), f"{repository}:{version}")
    tags = json.loads(send(server, "GET", "/v2/helm/versions/example/tags/list").body)["tags"]
    assert tags == ["1.10.0", "1.9.0", "1.9.1_build.4"]
    assert helm.run("versions", repository).split() == ["1.10.0", "1.9.1+build.4", "1.9.0"]
    helm.run("pull", f"{repository}:1.9.1+build.4", tmp_path)
    assert (tmp_path / "chart.tgz").read_bytes() == _chart(tmp_path, "1.9.1+build.4").read_bytes()


def _chart(folder: Path, version: str) -> Path:
    """A chart archive, as `helm package` makes it."""
    description = f"apiVersion: v2\nname: example\nversion: {version}\ndescription: an example\n".encode()
    files = {"example/Chart.yaml": description, "example/templates/map.yaml": b"kind: ConfigMap\n"}
    archive = folder / f"example-{version}.tgz"
    archive.write_bytes(gzip.compress(tar_of(files), mtime=0))
    return archive
