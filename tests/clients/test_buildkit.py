"""BuildKit's packages: export and import of a build cache. Only with FULL_TESTS, because they take long to build."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.collection import collect
from tests.support.http import send
from tests.support.images import DOCKER_LIST, INDEX, MANIFEST, digest_of, random_bytes
from tests.support.server import Server


@pytest.mark.parametrize(
    "form, media_type",
    [("index", INDEX), ("docker", DOCKER_LIST), ("manifest", MANIFEST)],
    ids=["index", "docker-list", "image"],
)
def test_export_and_import(
    store: Server, folder: Path, buildkit: Client, tmp_path: Path, form: str, media_type: str
) -> None:
    contents = [random_bytes(100_000, seed=seed) for seed in (72, 73)]
    files = []
    for content in contents:
        files.append(tmp_path / digest_of(content)[-8:])
        files[-1].write_bytes(content)
    cache = f"{store.address}/buildkit/cache:{form}"
    buildkit.run("export", form, cache, *files)
    assert send(store, "HEAD", f"/v2/buildkit/cache/manifests/{form}").headers["Content-Type"] == media_type
    # Only the tag keeps the cache, with all its parts.
    collect(folder / "data")
    (tmp_path / "out").mkdir()
    buildkit.run("import", cache, tmp_path / "out")
    for content in contents:
        assert (tmp_path / "out" / digest_of(content)).read_bytes() == content
