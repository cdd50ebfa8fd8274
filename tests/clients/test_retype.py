"""The bytes of an image are pushed again with another type (CVE-2021-41190), then a collection runs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.client import Client
from tests.support.collection import collect
from tests.support.http import send
from tests.support.images import DOCKER_MANIFEST, INDEX, MANIFEST, Layout, digest_of, docker_archive, random_bytes
from tests.support.server import Server

OTHER_TYPES = (
    None,  # no header at all
    "application/json",
    "application/octet-stream",
    "application/vnd.example.nothing+json",
    INDEX,
    MANIFEST,
    DOCKER_MANIFEST,
)


def test_a_docker_image(store: Server, folder: Path, crane: Client, tmp_path: Path) -> None:
    image = f"{store.address}/retype/docker:first"
    archive = docker_archive(tmp_path / "in.tar", "example/image:v1", random_bytes(100_000, seed=60), b"small")
    crane.run("push", archive, image)
    _attack(store, "retype/docker", DOCKER_MANIFEST)
    collect(folder / "data")
    assert crane.run("validate", "--remote", image).startswith("PASS")


def test_an_image_that_does_not_say_what_it_is(store: Server, folder: Path, skopeo: Client, tmp_path: Path) -> None:
    """Only the first push says its type."""
    layout = Layout(tmp_path / "in")
    image = layout.image(random_bytes(100_000, seed=61), b"small")
    manifest = json.loads((layout.path / "blobs/sha256" / image["digest"].partition(":")[2]).read_bytes())
    del manifest["mediaType"]
    layout.tag(layout.json(manifest, MANIFEST), "v1")
    skopeo.run(
        "copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{layout.path}:v1",
        f"docker://{store.address}/retype/untyped:first",
    )  # fmt: skip
    _attack(store, "retype/untyped", MANIFEST)
    collect(folder / "data")
    source = f"docker://{store.address}/retype/untyped:first"
    skopeo.run("copy", "--preserve-digests", "--src-tls-verify=false", source, f"oci:{tmp_path / 'out'}:v1")


def _attack(store: Server, repository: str, media_type: str) -> None:
    """Push the manifest `first` again with other types, by tag and by digest. The server must refuse each."""
    first = send(store, "GET", f"/v2/{repository}/manifests/first")
    assert first.headers["Content-Type"] == media_type
    said = json.loads(first.body).get("mediaType")
    for other in OTHER_TYPES:
        if (other or said) == media_type:
            continue
        headers = {"Content-Type": other} if other else {}
        for reference in ("first", "second", digest_of(first.body)):
            pushed = send(store, "PUT", f"/v2/{repository}/manifests/{reference}", first.body, headers)
            assert pushed.status == 400, f"{reference} as {other}"
            assert json.loads(pushed.body)["errors"][0]["code"] == "MANIFEST_INVALID"
    tags = json.loads(send(store, "GET", f"/v2/{repository}/tags/list").body)["tags"]
    assert tags == ["first"]
    # Another repository may have these bytes with any type that they do not contradict.
    headers = {"Content-Type": "application/octet-stream"}
    elsewhere = send(store, "PUT", f"/v2/{repository}-elsewhere/manifests/first", first.body, headers)
    assert elsewhere.status == (400 if said else 201)
