"""Clients against a backend that takes blobs only in one request: the one that docs/backends.md builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_backends import tutorial
from tests.serving.granian_process import serve_with_granian
from tests.support.client import Client
from tests.support.images import Layout, blobs_of, docker_archive, random_bytes
from tests.support.tools import require_tool

LARGE = random_bytes(3 << 20, seed=31)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of it."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.py").write_text(tutorial("Small"))
    with serve_with_granian("small:app", folder / "log", "--working-dir", str(folder)) as site:
        yield f"{site.host}:{site.port}"


@pytest.fixture
def regctl(small: str, crane: Client) -> Client:
    """With the home folder of this test."""
    return Client(require_tool("regctl"), crane.environment, ("--host", f"reg={small},tls=disabled"))


def test_crane(small: str, crane: Client, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "in.tar", "example/image:v1", b"one", LARGE)
    image = f"{small}/crane/image:v1"
    crane.run("push", archive, image)
    assert crane.run("validate", "--remote", image).startswith("PASS")
    # It tries to mount, and uploads instead.
    crane.run("copy", image, f"{small}/crane/copy:v1")
    assert crane.run("validate", "--remote", f"{small}/crane/copy:v1").startswith("PASS")
    assert crane.run("ls", f"{small}/crane/image").split() == ["v1"]


def test_skopeo(small: str, skopeo: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    layout.tag(layout.image(b"one", LARGE), "v1")
    repository = f"docker://{small}/skopeo/image"
    skopeo.run("copy", "--dest-tls-verify=false", f"oci:{layout.path}:v1", f"{repository}:v1")
    skopeo.run("copy", "--src-tls-verify=false", f"{repository}:v1", f"oci:{tmp_path / 'out'}:v1")
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)


def test_oras(small: str, oras: Client, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(LARGE)
    artifact = f"{small}/oras/artifact:v1"
    oras.run("push", "--plain-http", "--disable-path-validation", artifact, f"{file}:application/octet-stream")
    oras.run("attach", "--plain-http", "--disable-path-validation", "--artifact-type", "a/b", artifact, file)
    (tmp_path / "out").mkdir()
    oras.run("pull", "--plain-http", "--allow-path-traversal", "--output", tmp_path / "out", artifact)
    found = oras.json("discover", "--plain-http", "--format", "json", artifact)["referrers"]
    assert [entry["artifactType"] for entry in found] == ["a/b"]


def test_regctl(small: str, regctl: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    digest = layout.tag(layout.index(layout.image(LARGE), layout.image(b"arm64", architecture="arm64")), "multi")
    regctl.run("image", "copy", f"ocidir://{layout.path}:multi", f"{small}/regctl/image:v1")
    assert regctl.run("manifest", "head", f"{small}/regctl/image:v1").strip() == digest
    regctl.run("image", "export", f"{small}/regctl/image:v1", tmp_path / "image.tar")
    regctl.run("tag", "rm", f"{small}/regctl/image:v1")
    assert regctl.run("tag", "ls", f"{small}/regctl/image").split() == []
