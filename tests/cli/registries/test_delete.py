"""`ociserver delete`: at a registry, and in the store of a folder, beside a server that serves it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociserver import Handler, Memory
from tests.cli.process import Serve, serving
from tests.cli.registries.conftest import address, canned, filled, ociserver, ociserver_here, refused, serve_backend
from tests.contract.contents import digest_of, push_manifest


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, str]]:
    """A server, and the folder of its store."""
    folder = tmp_path_factory.mktemp("delete")
    with serving(folder, "--data", str(folder / "data")) as server:
        yield server, str(folder / "data")


def tags(server: Serve, repository: str) -> list[str]:
    found: list[str] = json.loads(server.get(f"/v2/{repository}/tags/list")[1])["tags"]
    return found


def test_a_tag_and_a_manifest_at_a_registry(served: tuple[Serve, str]) -> None:
    server, _ = served
    images = filled(server, "at/registry")
    image = f"{address(server)}/at/registry"
    dry = ociserver("delete", f"{image}:latest", "--dry-run")
    assert (dry.status, digest_of(images.index) in dry.lines[0]) == (0, True)
    # Nobody is there to say yes.
    assert ociserver("delete", f"{image}:latest").status == 1
    assert tags(server, "at/registry") == ["amd64", "latest", "v1"]

    assert ociserver("delete", f"{image}:latest", "--yes").lines[-1] == f"deleted {image}:latest"
    assert tags(server, "at/registry") == ["amd64", "v1"]
    assert ociserver("manifest", f"{image}@{digest_of(images.index)}").status == 0
    assert ociserver("delete", f"{image}@{digest_of(images.index)}", "-y").status == 0
    assert tags(server, "at/registry") == ["amd64"]
    again = ociserver("delete", f"{image}:latest", "-y")
    assert (again.status, again.stdout) == (1, b"")
    assert "manifest unknown" in again.stderr


def test_a_repository_a_tag_and_a_manifest_of_a_store(served: tuple[Serve, str]) -> None:
    server, folder = served
    images = filled(server, "in/store")
    assert "3 " in ociserver("delete", "in/store", "--data", folder, "--dry-run").lines[0]
    assert ociserver("delete", "in/store", "--data", folder).status == 1
    assert ociserver("delete", "in/store:v1", "--data", folder, "-y").status == 0
    assert tags(server, "in/store") == ["amd64", "latest"]
    assert ociserver("delete", f"in/store@{digest_of(images.index)}", "--data", folder, "-y").status == 0
    assert tags(server, "in/store") == ["amd64"]
    assert ociserver("delete", "in/store", "--data", folder, "-y").lines[-1] == "deleted in/store"
    gone = ociserver("delete", "in/store", "--data", folder, "-y")
    assert gone.status == 1
    assert gone.stderr.startswith(f"ociserver: {folder} has no repository in/store; ")


def test_a_repository_of_a_store_that_is_named_like_a_host(served: tuple[Serve, str]) -> None:
    """As a cache of several registries names them."""
    server, folder = served
    filled(server, "docker.io/library/alpine")
    assert ociserver("delete", "docker.io/library/alpine", "--data", folder, "-y").status == 0
    assert server.get("/v2/docker.io/library/alpine/tags/list")[0] == 404


@pytest.mark.anyio
async def test_a_registry_that_deletes_no_tags() -> None:
    content, store = b"{}", Memory()
    await push_manifest(store, content, "text/plain", "v1", repository="a/b")
    handler = Handler(store)

    async def without_tags(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "DELETE":
            await canned(405, b"")(scope, receive, send)
        else:
            await handler(scope, receive, send)

    async with serve_backend(without_tags) as host:
        done = await ociserver_here("delete", f"{host}/a/b:v1", "-y")
    assert done.status == 1
    assert f"`ociserver delete {host}/a/b@{digest_of(content)}` deletes the manifest, with all its tags" in done.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("localhost:5000/a",), "deletes no whole repository: name a tag or a digest, or by --data"),
        (("localhost:5000/a:v1", "--data", "x"), "is at a registry, and --data a folder"),
        (("A",), "'A' is not the name of a repository"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("delete", *arguments)


def test_a_folder_without_a_store(tmp_path: Path) -> None:
    done = ociserver("delete", "a", "--data", str(tmp_path), "-y")
    assert (done.status, done.stdout) == (1, b"")
    assert "holds no store" in done.stderr
