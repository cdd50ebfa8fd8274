"""`ociserver delete` at a registry, and in the folder of a store that a server uses at the same time."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociserver import Handler, Memory
from tests.cli.process import Serve, clean_environment, serving
from tests.cli.registries.conftest import (
    Done,
    address,
    canned,
    filled,
    ociserver,
    ociserver_here,
    refused,
    serve_backend,
)
from tests.contract.contents import INDEX, digest_of, push_manifest


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
    unanswered = ociserver("delete", f"{image}:latest")
    assert unanswered.status == 1
    assert unanswered.stderr.endswith("nobody answered. Pass --yes to delete without a question.\n")
    assert tags(server, "at/registry") == ["amd64", "latest", "v1"]

    assert ociserver("delete", f"{image}:latest", "--yes").lines[-1] == f"deleted {image}:latest"
    assert tags(server, "at/registry") == ["amd64", "v1"]
    assert ociserver("manifest", f"{image}@{digest_of(images.index)}").status == 0
    assert ociserver("delete", f"{image}@{digest_of(images.index)}", "-y").status == 0
    assert tags(server, "at/registry") == ["amd64"]
    again = ociserver("delete", f"{image}:latest", "-y")
    assert (again.status, again.stdout) == (1, b"")
    assert again.stderr == f"ociserver: {image} has no tag latest. See `ociserver tags {image}`.\n"


def test_a_repository_a_tag_and_a_manifest_of_a_store(served: tuple[Serve, str]) -> None:
    server, folder = served
    images = filled(server, "in/store")
    assert "3 " in ociserver("delete", "in/store", "--data", folder, "--dry-run").lines[0]
    unanswered = ociserver("delete", "in/store", "--data", folder)
    assert unanswered.status == 1
    assert unanswered.stderr.endswith("nobody answered. Pass --yes to delete without a question.\n")
    assert ociserver("delete", "in/store:v1", "--data", folder, "-y").status == 0
    assert tags(server, "in/store") == ["amd64", "latest"]
    assert ociserver("delete", f"in/store@{digest_of(images.index)}", "--data", folder, "-y").status == 0
    assert tags(server, "in/store") == ["amd64"]
    assert ociserver("delete", "in/store", "--data", folder, "-y").lines[-1] == "deleted in/store"
    gone = ociserver("delete", "in/store", "--data", folder, "-y")
    assert gone.status == 1
    assert gone.stderr.startswith(f"ociserver: {folder} has no repository in/store; ")


def test_a_repository_of_a_store_that_is_named_like_a_host(served: tuple[Serve, str]) -> None:
    """A cache of several registries has such names."""
    server, folder = served
    filled(server, "docker.io/library/alpine")
    assert ociserver("delete", "docker.io/library/alpine", "--data", folder, "-y").status == 0
    assert server.get("/v2/docker.io/library/alpine/tags/list")[0] == 404


@pytest.mark.anyio
async def test_a_registry_that_cannot_delete_tags() -> None:
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
    assert f"`ociserver delete {host}/a/b@{digest_of(content)}` deletes the manifest and all its tags" in done.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("localhost:5000/a",), "the protocol cannot delete a whole repository. Add a tag or digest"),
        (("localhost:5000/a:v1", "--data", "x"), "is at a registry, and --data or --config names a store"),
        (("A",), "'A' is not the name of a repository"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused("delete", *arguments)


def answered(answer: bytes, *arguments: str) -> Done:
    """Run a command that asks, and answer through a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "ociserver", *arguments],
        env=clean_environment(None),
        input=answer,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


def test_the_question_can_be_answered_through_a_pipe(served: tuple[Serve, str]) -> None:
    server, folder = served
    filled(server, "asked")
    no = answered(b"n\n", "delete", "asked:v1", "--data", folder)
    assert (no.status, "--yes" in no.stderr) == (1, False)
    assert tags(server, "asked") == ["amd64", "latest", "v1"]
    yes = answered(b"y\n", "delete", "asked:v1", "--data", folder, "--json")
    assert (yes.status, yes.json["deleted"]) == (0, True)
    assert "Delete asked:v1? [y/N]" in yes.stderr, "stdout has the JSON alone"
    assert tags(server, "asked") == ["amd64", "latest"]


def test_a_terminal_is_asked(served: tuple[Serve, str]) -> None:
    server, folder = served
    filled(server, "seen")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ociserver", "delete", "seen:v1", "--data", folder]
    with subprocess.Popen(
        command, env=clean_environment(None), stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.write(ours, b"y\n")
        assert process.wait(60) == 0
    os.close(theirs)
    os.close(ours)
    assert tags(server, "seen") == ["amd64", "latest"]


def test_the_report_as_json(served: tuple[Serve, str]) -> None:
    server, folder = served
    images = filled(server, "as/json")
    index = {
        "reference": "as/json:v1",
        "tag": "v1",
        "digest": digest_of(images.index),
        "mediaType": INDEX,
        "size": len(images.index),
    }
    here = ("--data", folder, "--json")
    assert ociserver("delete", "as/json:v1", *here, "--dry-run").json == {**index, "deleted": False}
    assert ociserver("delete", "as/json:v1", *here, "-y").json == {**index, "deleted": True}
    image = f"{address(server)}/as/json@{digest_of(images.sbom)}"
    at_registry = ociserver("delete", image, "--json", "-y").json
    assert (at_registry["reference"], at_registry["tag"], at_registry["deleted"]) == (image, None, True)
    # An image with two platforms has two layers and a config each. One layer is shared.
    report = ociserver("delete", "as/json", *here, "--dry-run").json
    assert report.keys() == {
        *("repository", "tags", "manifests", "uploads", "blobs", "own_blobs", "own_bytes", "deleted"),
    }
    assert (report["repository"], report["tags"], report["uploads"], report["deleted"]) == ("as/json", 2, 0, False)
    assert ociserver("delete", "as/json", *here, "-y").json == {**report, "deleted": True}
    assert tags_status(server, "as/json") == 404


def test_the_singular_for_one_of_each(served: tuple[Serve, str]) -> None:
    server, folder = served
    connection = server.http()
    for method, path, body in (
        ("POST", f"/v2/one/blobs/uploads/?digest={digest_of(b'x')}", b"x"),
        ("POST", "/v2/one/blobs/uploads/", b""),
        ("PUT", "/v2/one/manifests/v1", b"{}"),
    ):
        connection.request(method, path, body, {"Content-Type": "text/plain"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (201, 202)
    assert ociserver("delete", "one", "--data", folder, "--dry-run").lines == [
        "1  tag",
        "1  manifest",
        "1  blob, 1 of them (1 B) in no other repository",
        "1  upload in progress, which would fail",
    ]


def test_the_message_for_a_content_that_the_store_lacks(served: tuple[Serve, str]) -> None:
    server, folder = served
    filled(server, "has/some")
    nowhere = digest_of(b"nowhere")
    for reference, said in (
        ("has/some:v9", "has/some has no tag v9."),
        (f"has/some@{nowhere}", f"has/some has no manifest {nowhere}."),
        ("has/none:v1", "there is no repository has/none."),
    ):
        done = ociserver("delete", reference, "--data", folder, "-y")
        assert (done.status, done.stdout, done.stderr) == (1, b"", f"ociserver: {said}\n")


def tags_status(server: Serve, repository: str) -> int:
    return server.get(f"/v2/{repository}/tags/list")[0]


def test_a_folder_without_a_store(tmp_path: Path) -> None:
    done = ociserver("delete", "a", "--data", str(tmp_path), "-y")
    assert (done.status, done.stdout) == (1, b"")
    assert "contains no store" in done.stderr
