"""Copies of images with a missing part: they fail, name the part, and leave no tag."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.http import send
from tests.support.images import CONFIG, DOCKER_MANIFEST, INDEX, LAYER, MANIFEST, Json, digest_of
from tests.support.server import Server
from tests.support.servers import SETUPS

REPOSITORY = "missing/source"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclass(frozen=True, slots=True)
class Broken:
    """A manifest at the source, and the digest of the part that is missing."""

    tag: str
    manifest: Json
    missing: str


def _descriptor(media_type: str, content: bytes) -> Json:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _image(media_type: str, config: str, layer: str, *contents: bytes) -> Json:
    return {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _descriptor(config, b"{}"),
        "layers": [_descriptor(layer, content) for content in contents],
    }


def _index(*entries: Json) -> Json:
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}


WHOLE = _image(MANIFEST, CONFIG, LAYER, b"there")
_PLATFORM = {"os": "linux", "architecture": "amd64"}
_ENTRY = {**_descriptor(MANIFEST, json.dumps(WHOLE).encode()), "platform": _PLATFORM}
BROKEN = (
    Broken(
        "docker-layer",
        _image(DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER, b"there", b"missing"),
        digest_of(b"missing"),
    ),
    Broken(
        "child",
        _index(_ENTRY, {**_descriptor(MANIFEST, b"a child"), "platform": {**_PLATFORM, "architecture": "arm64"}}),
        digest_of(b"a child"),
    ),
    # As in a build cache: blobs as entries of an index.
    Broken("cache-layer", _index(_ENTRY, _descriptor(LAYER, b"missing")), digest_of(b"missing")),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Has the incomplete images: it accepts manifests without their parts."""
    with SETUPS[0].start(tmp_path_factory.mktemp("source"), "--lax-child-references") as source:
        for blob in (b"{}", b"there"):
            pushed = send(source, "POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(blob)}", blob)
            assert pushed.status == 201
        for tag, manifest in (("whole", WHOLE), *((broken.tag, broken.manifest) for broken in BROKEN)):
            path, headers = f"/v2/{REPOSITORY}/manifests/{tag}", {"Content-Type": manifest["mediaType"]}
            assert send(source, "PUT", path, json.dumps(manifest).encode(), headers).status == 201
        yield source


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with SETUPS[-1].start(tmp_path_factory.mktemp("strict")) as strict:
        yield strict


@pytest.fixture(params=["strict", "source"])
def target(request: pytest.FixtureRequest) -> Server:
    """A server that refuses incomplete manifests, and one that accepts them: the source, where blobs are mounted."""
    target: Server = request.getfixturevalue(request.param)
    return target


@pytest.fixture
def ociserver(tmp_path: Path) -> Client:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    return Client(Path(sys.executable), environment, ("-m", "ociserver"))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.tag)
def test_ociserver_copy(source: Server, target: Server, ociserver: Client, broken: Broken) -> None:
    said = ociserver.refused("copy", f"{source.address}/{REPOSITORY}:{broken.tag}", f"{target.address}/missing/copied")
    assert said.startswith("ociserver: ")
    assert f"{broken.missing}, which manifest " in said
    _nothing_at(target, "missing/copied", broken)


# skopeo reads every entry of an index as a manifest.
@pytest.mark.parametrize("broken", BROKEN[:2], ids=lambda broken: broken.tag)
def test_skopeo_copy(source: Server, target: Server, skopeo: Client, broken: Broken) -> None:
    options = ("--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false")
    said = skopeo.refused(
        "copy",
        *options,
        f"docker://{source.address}/{REPOSITORY}:{broken.tag}",
        f"docker://{target.address}/missing/skopeo:{broken.tag}",
    )
    assert broken.missing in said
    _nothing_at(target, "missing/skopeo", broken)


def _nothing_at(target: Server, repository: str, broken: Broken) -> None:
    for reference in (broken.tag, digest_of(json.dumps(broken.manifest).encode())):
        assert send(target, "GET", f"/v2/{repository}/manifests/{reference}").status == 404
