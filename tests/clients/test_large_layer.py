"""A layer of 2 GiB: more than a signed 32-bit length can hold, and than should be in memory."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.client import Client
from tests.support.images import LAYER_TAR, Layout, random_bytes
from tests.support.server import Server
from tests.support.servers import SETUPS, TWO_NODES

GIB = 1 << 30
# More than a signed 32-bit length can hold, and not a multiple of any buffer size.
SIZE = 2 * GIB + 1

# Each takes half a minute.
LARGE = [*SETUPS, TWO_NODES] if os.environ.get("FULL_TESTS") else [SETUPS[-1]]


@pytest.fixture(scope="module")
def large_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Layout, str]]:
    """A layout with an image of one such layer, and the digest of the layer. It is deleted afterwards."""
    layout = Layout(tmp_path_factory.mktemp("large") / "layout")
    layer = layout.large_blob(_content(), LAYER_TAR)
    assert layer["size"] == SIZE
    layout.tag(layout.image_of([layer], [layer["digest"]], {"os": "linux", "architecture": "amd64"}), "large")
    yield layout, layer["digest"]
    shutil.rmtree(layout.path)


@pytest.mark.parametrize("server", LARGE, ids=lambda setup: setup.name, indirect=True)
@pytest.mark.timeout(600)
def test_push_and_pull(server: Server, skopeo: Client, crane: Client, large_image: tuple[Layout, str]) -> None:
    layout, digest = large_image
    image = f"{server.address}/large/image"
    # Without --preserve-digests, skopeo would compress the layer.
    skopeo.run(
        "copy", "--dest-tls-verify=false", "--preserve-digests", f"oci:{layout.path}:large", f"docker://{image}:v1"
    )
    assert _pull(crane, f"{image}@{digest}") == (SIZE, digest)


def _content() -> Iterator[bytes]:
    """SIZE bytes. No two of its MiB are equal."""
    block = bytearray(random_bytes(1 << 20, seed=12))
    left = SIZE
    for number in itertools.count():
        if left == 0:
            return
        block[:8] = number.to_bytes(8, "big")
        yield bytes(block[:left])
        left -= min(left, len(block))


def _pull(crane: Client, reference: str) -> tuple[int, str]:
    """Pull the layer. Returns its size and digest, without writing a file."""
    hasher, size = hashlib.sha256(), 0
    command = [str(crane.program), *crane.options, "blob", reference]
    with subprocess.Popen(command, env=dict(crane.environment), stdout=subprocess.PIPE) as process:
        assert process.stdout
        while chunk := process.stdout.read(1 << 20):
            hasher.update(chunk)
            size += len(chunk)
    assert process.returncode == 0
    return size, f"sha256:{hasher.hexdigest()}"
