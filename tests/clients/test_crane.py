"""crane (google/go-containerregistry): pushes with one PATCH, and mounts when it copies within a registry."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.client import Client
from tests.support.images import DOCKER_MANIFEST, Layout, docker_archive, random_bytes
from tests.support.server import Server


def test_docker_image_push_and_pull(server: Server, crane: Client, tmp_path: Path) -> None:
    image = f"{server.address}/crane/docker:v1"
    archive = docker_archive(tmp_path / "in.tar", "example/image:v1", b"one", random_bytes(3 << 20, seed=1))
    # It prints the reference with the digest that the server answered.
    pushed = crane.run("push", archive, image).strip()
    assert pushed.startswith(f"{server.address}/crane/docker@sha256:")

    manifest = crane.json("manifest", image)
    assert manifest["mediaType"] == DOCKER_MANIFEST
    assert [layer["mediaType"] for layer in manifest["layers"]] == [
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    ] * 2
    # This reads every blob and checks its digest, and the layers against the diff_ids of the config.
    assert crane.run("validate", "--remote", image).startswith("PASS")

    crane.run("pull", "--format", "oci", image, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "index.json").read_bytes())
    assert [entry["digest"] for entry in index["manifests"]] == [pushed.partition("@")[2]]


def test_index_push_and_pull(server: Server, crane: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    images = [layout.image(b"amd64"), layout.image(b"arm64", architecture="arm64")]
    for descriptor in images:
        layout.tag(descriptor, descriptor["platform"]["architecture"])
    image = f"{server.address}/crane/multi:v1"
    # It pushes the index of the layout.
    crane.run("push", "--index", layout.path, image)
    assert crane.run("manifest", image).encode() == (layout.path / "index.json").read_bytes()
    assert crane.run("validate", "--remote", image).startswith("PASS")
    # To resolve one platform, it reads the index first.
    assert crane.run("--platform", "linux/arm64", "digest", image).strip() == images[1]["digest"]


def test_copy_mounts_the_blobs(server: Server, crane: Client, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "in.tar", "example/image:v1", random_bytes(100_000, seed=2), b"two")
    source, target = f"{server.address}/crane/mount/source:v1", f"{server.address}/crane/mount/target:v1"
    crane.run("push", archive, source)

    log = crane.log("--verbose", "copy", source, target)
    answers = re.findall(
        r"<-- (\d+) http://[^/]*/v2/crane/mount/target/blobs/uploads/\?from=crane%2Fmount%2Fsource", log
    )
    assert answers == ["201"] * 3, log  # two layers and the config
    assert not re.search(r"--> (PATCH|PUT) \S*/blobs/", log), f"it sent bytes that the server had:\n{log}"
    assert crane.run("digest", source) == crane.run("digest", target)
    assert crane.run("validate", "--remote", target).startswith("PASS")


def test_lists_and_deletes(server: Server, crane: Client, tmp_path: Path) -> None:
    repository = f"{server.address}/crane/lists"
    archive = docker_archive(tmp_path / "in.tar", "example/image:v1", b"listed")
    pushed = crane.run("push", archive, f"{repository}:b").strip()
    crane.run("tag", f"{repository}:b", "a")
    crane.run("tag", f"{repository}:b", "c")
    assert crane.run("ls", repository).split() == ["a", "b", "c"]
    assert "crane/lists" in crane.run("catalog", server.address).split()

    crane.run("delete", f"{repository}:a")
    assert crane.run("ls", repository).split() == ["b", "c"]
    assert crane.run("digest", f"{repository}:b").strip() == pushed.partition("@")[2]

    crane.run("delete", pushed)
    assert "MANIFEST_UNKNOWN" in crane.refused("manifest", f"{repository}:b")
    assert "MANIFEST_UNKNOWN" in crane.refused("manifest", pushed)
