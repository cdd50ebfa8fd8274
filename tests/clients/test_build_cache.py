"""Build caches as BuildKit pushes them, with the resolver that it uses: indexes whose entries are blobs.

The documents are those of cache/remotecache in moby/buildkit. `make test-full` also runs its code (test_buildkit.py).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.collection import collect
from tests.support.http import send
from tests.support.images import DOCKER_LIST, INDEX, LAYER, MANIFEST, Json, Layout, blobs_of, random_bytes
from tests.support.server import Server

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@pytest.mark.parametrize(
    "form, media_type",
    [("index", INDEX), ("list", DOCKER_LIST), ("image", MANIFEST)],
    ids=["index", "docker-list", "image"],
)
def test_export_and_import(
    store: Server, folder: Path, containerd: Client, tmp_path: Path, form: str, media_type: str
) -> None:
    layout, reference = Layout(tmp_path / "in"), f"{store.address}/build/cache:{form}"
    cache = _cache(layout, media_type)
    containerd.run("push", layout.path, cache["digest"], media_type, reference)
    # Only the tag keeps the cache, with all its parts.
    collect(folder / "data")
    pulled = containerd.json("pull", reference, tmp_path / "out")
    assert (pulled["mediaType"], pulled["digest"]) == (media_type, cache["digest"])
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)


def test_a_cache_whose_layer_is_missing(store: Server, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    cache = _cache(layout, INDEX)
    document = (layout.path / "blobs/sha256" / cache["digest"].partition(":")[2]).read_bytes()
    pushed = send(store, "PUT", "/v2/build/incomplete/manifests/v1", document, {"Content-Type": INDEX})
    assert pushed.status == 404
    assert b"MANIFEST_BLOB_UNKNOWN" in pushed.body


def _cache(layout: Layout, media_type: str) -> Json:
    """A cache of one build step, whose result is two layers."""
    layer_type = DOCKER_LAYER if media_type == DOCKER_LIST else LAYER
    layers = [
        layout.blob(
            random_bytes(100_000, seed=seed), layer_type, annotations={"buildkit/createdat": "2026-01-01T00:00:00Z"}
        )
        for seed in (70, 71)
    ]
    # The upper layer comes first, and refers to the lower one by its position.
    config = layout.json(
        {
            "layers": [
                {"blob": layers[0]["digest"], "parent": 1},
                {"blob": layers[1]["digest"], "parent": -1},
            ],
            "records": [{"digest": layers[0]["digest"], "layers": [{"layer": 0, "createdAt": "2026-01-01T00:00:00Z"}]}],
        },
        CACHE_CONFIG,
    )
    document = {"schemaVersion": 2, "mediaType": media_type}
    if media_type == MANIFEST:
        return layout.json({**document, "config": config, "layers": layers}, media_type)
    return layout.json({**document, "manifests": [*layers, config]}, media_type)
