"""skopeo (containers/image, as in podman and CRI-O): it uploads in chunks, converts, and copies whole indexes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.client import Client
from tests.support.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    Layout,
    blobs_of,
    digest_of,
    docker_archive,
    random_bytes,
)
from tests.support.server import Server

TO = "--dest-tls-verify=false"
FROM = "--src-tls-verify=false"
AT = "--tls-verify=false"


def test_image_push_pull_list_delete(server: Server, skopeo: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    digest = layout.tag(layout.image(b"one", random_bytes(3 << 20, seed=3)), "v1")
    repository = f"docker://{server.address}/skopeo/image"
    skopeo.run("copy", TO, f"oci:{layout.path}:v1", f"{repository}:v1")
    skopeo.run("copy", TO, FROM, f"{repository}:v1", f"{repository}:v2")
    assert skopeo.json("list-tags", AT, repository)["Tags"] == ["v1", "v2"]
    assert skopeo.json("inspect", AT, f"{repository}:v2")["Digest"] == digest

    skopeo.run("copy", FROM, f"{repository}@{digest}", f"oci:{tmp_path / 'out'}:v1")
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)

    # skopeo always deletes by digest, so both tags disappear with the manifest.
    skopeo.run("delete", AT, f"{repository}:v1")
    assert "manifest unknown" in skopeo.refused("inspect", AT, f"{repository}:v2")


def test_multi_arch_index_copy(server: Server, skopeo: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    images = [layout.image(b"amd64"), layout.image(b"arm64", architecture="arm64")]
    digest = layout.tag(layout.index(*images), "multi")
    source, target = (f"docker://{server.address}/skopeo/multi-{name}:v1" for name in ("source", "target"))
    skopeo.run("copy", "--all", TO, f"oci:{layout.path}:multi", source)
    skopeo.run("copy", "--all", TO, FROM, source, target)
    raw = skopeo.run("inspect", AT, "--raw", target)
    assert digest_of(raw.encode()) == digest
    assert json.loads(raw)["mediaType"] == INDEX

    skopeo.run("copy", "--all", FROM, target, f"oci:{tmp_path / 'out'}:multi")
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)
    # One platform of an index is a normal image.
    one = skopeo.json("--override-arch", "arm64", "--override-os", "linux", "inspect", AT, target)
    assert one["Architecture"] == "arm64"


def test_docker_media_types(server: Server, skopeo: Client, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "in.tar", "example/image:v1", b"one", b"two")
    image = f"docker://{server.address}/skopeo/docker:v1"
    skopeo.run("copy", TO, "--format", "v2s2", f"docker-archive:{archive}", image)
    manifest = skopeo.json("inspect", AT, "--raw", image)
    assert manifest["mediaType"] == DOCKER_MANIFEST
    skopeo.run("copy", FROM, image, f"docker-archive:{tmp_path / 'out.tar'}:example/image:v1")
    assert (tmp_path / "out.tar").stat().st_size > 0


def test_docker_manifest_list(server: Server, skopeo: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    layout.tag(layout.index(layout.image(b"amd64"), layout.image(b"arm64", architecture="arm64")), "multi")
    image = f"docker://{server.address}/skopeo/list:v1"
    skopeo.run("copy", "--all", TO, "--format", "v2s2", f"oci:{layout.path}:multi", image)
    pushed = skopeo.json("inspect", AT, "--raw", image)
    assert pushed["mediaType"] == DOCKER_LIST
    assert {entry["mediaType"] for entry in pushed["manifests"]} == {DOCKER_MANIFEST}
