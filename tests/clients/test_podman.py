"""containers/image with containers/storage, as in podman: the client fetches only the missing files of a layer."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.images import LAYER, Layout, digest_of, random_bytes, tar_of
from tests.support.server import Server
from tests.support.servers import SEVERAL_PROCESSES
from tests.support.tap import Exchange, tapped

pytestmark = pytest.mark.parametrize("server", SEVERAL_PROCESSES, ids=lambda setup: setup.name, indirect=True)

# Maximum number of ranges that the client sends in one request. If it needs more parts, it also fetches some gaps.
# (Its limit is 1,024, but it joins two of those.)
MOST_RANGES = 1023
# It always fetches gaps of less than a KiB.
SIZE = 1200


def test_partial_pull(server: Server, podman: Client, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        # CI runs as root. Other users may not make the mounts of the storage.
        pytest.skip("the storage mounts its layers, which needs root")
    files = {f"file-{number:04}": random_bytes(SIZE, seed=number) for number in range(2 * MOST_RANGES + 20)}
    # The first image lacks every second file, so no two missing parts are adjacent.
    some = {name: content for name, content in files.items() if int(name[-1]) % 2}
    layout, repository = Layout(tmp_path / "in"), "podman/partial"
    for tag, contents in (("some", some), ("all", files)):
        _image(layout, tag, contents)
        podman.run("push", f"{layout.path}:{tag}", f"{server.address}/{repository}:{tag}")

    storage = tmp_path / "storage"
    assert podman.json("pull", f"{server.address}/{repository}:some", storage) == _digests(some)
    with tapped(server) as tap:
        assert podman.json("pull", f"{tap.address}/{repository}:all", storage) == _digests(files)
        parts = [exchange for exchange in tap.exchanges() if "range" in exchange.headers]
    # The first request fetches the table of contents at the end of the layer, the second the files.
    assert [exchange.status for exchange in parts] == [206, 206]
    assert _ranges(parts[1]) == MOST_RANGES
    assert parts[1].answer["content-type"].startswith("multipart/byteranges")


def _image(layout: Layout, tag: str, files: Mapping[str, bytes]) -> None:
    tar = tar_of(files)
    layer = layout.blob(gzip.compress(tar, 1, mtime=0), LAYER)
    layout.tag(layout.image_of([layer], [digest_of(tar)], {"os": "linux", "architecture": "amd64"}), tag)


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: sha256(content).hexdigest() for name, content in files.items()}


def _ranges(exchange: Exchange) -> int:
    return exchange.headers["range"].removeprefix("bytes=").count(",") + 1
