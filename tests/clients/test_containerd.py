"""containerd's resolver, which docker, nerdctl and BuildKit use too."""

from __future__ import annotations

from pathlib import Path

from tests.support.client import Client
from tests.support.images import INDEX, MANIFEST, Layout, blobs_of, random_bytes
from tests.support.server import Server
from tests.support.tap import tapped

MIB = 1 << 20


def test_image_push_and_pull(server: Server, containerd: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    image = layout.image(random_bytes(3 * MIB, seed=20), b"small")
    containerd.run("push", layout.path, image["digest"], MANIFEST, f"{server.address}/containerd/image:v1")

    pulled = containerd.json("pull", f"{server.address}/containerd/image:v1", tmp_path / "out")
    assert (pulled["digest"], pulled["mediaType"], pulled["size"]) == (image["digest"], MANIFEST, image["size"])
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)


def test_index_push_and_pull(server: Server, containerd: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    index = layout.index(layout.image(b"amd64"), layout.image(b"arm64", architecture="arm64"))
    containerd.run("push", layout.path, index["digest"], INDEX, f"{server.address}/containerd/index:v1")
    assert containerd.json("pull", f"{server.address}/containerd/index:v1", tmp_path / "out")["mediaType"] == INDEX
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)


def test_a_layer_in_several_concurrent_requests(server: Server, containerd: Client, tmp_path: Path) -> None:
    """Each request asks for the whole rest, and closes the connection when it has its part."""
    layout = Layout(tmp_path / "in")
    image = layout.image(random_bytes(3 * MIB, seed=21))
    layer = next(blob for blob in blobs_of(layout.path) if (layout.path / "blobs/sha256" / blob).stat().st_size > MIB)
    containerd.run("push", layout.path, image["digest"], MANIFEST, f"{server.address}/containerd/parts:v1")
    with tapped(server) as tap:
        containerd.run("pull", f"{tap.address}/containerd/parts:v1", tmp_path / "out", str(MIB // 2))
        asked = {
            (exchange.headers["range"], exchange.status)
            for exchange in tap.exchanges()
            if exchange.method == "GET" and layer in exchange.target
        }
    # The layer is a little larger than its 3 MiB of random bytes: seven parts.
    assert asked == {(f"bytes={part * MIB // 2}-", 206) for part in range(7)}
    # The client checks digests when it stores the blobs.
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)


def test_copy_mounts_the_blobs(server: Server, containerd: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    image = layout.image(b"one", b"two")
    containerd.run("push", layout.path, image["digest"], MANIFEST, f"{server.address}/containerd/mount/from:v1")
    with tapped(server) as tap:
        source, target = f"{tap.address}/containerd/mount/from:v1", f"{tap.address}/containerd/mount/to:v1"
        containerd.run("copy", source, tmp_path / "between", target)
        written = [exchange for exchange in tap.exchanges() if exchange.method in {"POST", "PUT"}]
    mounts = [exchange for exchange in written if "from=containerd/mount/from" in exchange.target]
    assert [(mount.method, mount.status) for mount in mounts] == [("POST", 201)] * 3  # two layers and the config
    rest = [(exchange.method, exchange.target, exchange.status) for exchange in written if exchange not in mounts]
    assert rest == [("PUT", "/v2/containerd/mount/to/manifests/v1", 201)]
    containerd.run("pull", f"{server.address}/containerd/mount/to:v1", tmp_path / "out")
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)
