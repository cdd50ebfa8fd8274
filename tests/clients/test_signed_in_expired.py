"""Tokens that end while a client works: it is told so, and gets another one with its password.

The shortest lifetime of a token is a minute. So here the key of the server is replaced instead, between two requests of
one client, which ends all tokens in the same way: 401 with `error="invalid_token"`. (Who replaces a key as docs/auth.md
says keeps the old one for a while, and no client notices.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.clients.contents import CHART, IMAGE
from tests.clients.signed_in import Trial, digest, exists, ociserver, push
from tests.clients.signed_in_tools import TOOLS, Tool
from tests.support.interposed import interposed
from tests.support.server import Server
from tests.support.signed_in import reload, signed_in_server, write_config
from tests.support.tap import Exchange, tapped

# containers/image and regclient look at the clock only, and give up if a token ends earlier than its answer has said
# (docker/docker_client.go gets a new token on `insufficient_scope` only; internal/auth/auth.go calls the challenge "not
# new"). helm keeps no token: it signs in for each request anew.
OUTCOMES: Final = {
    "skopeo": 401,
    "podman": 401,
    "crane": "works",
    "oras": "works",
    "regctl": 401,
    "helm": "works",
    "containerd": "works",
}
KEEPS_NO_TOKEN: Final = {"helm-client"}

CELLS: Final = [pytest.param(TOOLS[name], outcome, id=name) for name, outcome in OUTCOMES.items()]

_DELETE: Final = r"DELETE /v2/\S+/manifests/"

_numbers: Final = itertools.count()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("one")


@pytest.fixture(scope="module")
def one(folder: Path) -> Iterator[Server]:
    """One process, because only that says when it has the new key."""
    with signed_in_server(folder) as server:
        for content in (IMAGE, CHART):
            push(server, f"team/{content.tag}/example", content)
        yield server


@pytest.mark.parametrize("tool, outcome", CELLS)
def test_a_pull(one: Server, folder: Path, tool: Tool, outcome: object, tmp_path: Path) -> None:
    repository = f"team/{tool.content.tag}/example"
    exchanges = _run(one, folder, tool, "pull", outcome, repository, r"GET /v2/\S+/blobs/", tmp_path)
    assert tool.pulled(tmp_path / "out") == (outcome == "works")
    # The manifest came with the first token, and the blobs with another.
    tokens = {
        part: {
            each.headers.get("authorization", "") for each in exchanges if part in each.target and each.status == 200
        }
        for part in ("/manifests/", "/blobs/")
    }
    assert tokens["/manifests/"]
    assert not tokens["/manifests/"] & tokens["/blobs/"]
    assert bool(tokens["/blobs/"]) == (outcome == "works")


@pytest.mark.parametrize("tool, outcome", CELLS)
def test_a_push(one: Server, folder: Path, tool: Tool, outcome: object, tmp_path: Path) -> None:
    repository = f"team/{tool.program}/example"
    _run(one, folder, tool, "push", outcome, repository, r"PUT /v2/\S+/manifests/", tmp_path)
    assert exists(one, repository, tool.content.tag) == (outcome == "works")


# regctl takes the challenge of a mount for a new one, because it names two repositories.
@pytest.mark.parametrize("name", ["crane", "oras", "regctl", "containerd"])
def test_a_mount(one: Server, folder: Path, name: str, tmp_path: Path) -> None:
    source, target = "team/v1/example", f"team/mounted-{name}/example"
    exchanges = _run(one, folder, TOOLS[name], "copy", "works", source, r"POST /v2/\S+mount=", tmp_path, target)
    mounts = [each.status for each in exchanges if "mount=" in each.target]
    assert mounts.count(201) == TOOLS[name].mounts, mounts
    assert exists(one, target, "v1")


def test_a_mount_by_containers_image(one: Server, folder: Path, tmp_path: Path) -> None:
    """skopeo mounts what it has pushed before to the same address. Without the mount it uploads, with an old token too.

    podman and buildah do the same, by the same library. podman-client has no cache of what it has pushed.
    """
    source, target = "team/from-skopeo/example", "team/mounted-skopeo/example"
    with (
        tapped(one) as tap,
        interposed(tap.address, r"POST /v2/\S+mount=", lambda: _end_all_tokens(one, folder)) as address,
    ):
        trial = Trial(TOOLS["skopeo"], tap, tmp_path, address)
        trial.run("alice", "push", "works", image=trial.image(source))
        exchanges = trial.run("alice", "push", 401, image=trial.image(target))
    (mount,) = [each for each in exchanges if "mount=" in each.target]
    assert (mount.status, 'error="invalid_token"' in mount.answer["www-authenticate"]) == (401, True)
    assert all(each.status == 401 for each in exchanges[exchanges.index(mount) :])
    assert not exists(one, target, "v1")


# regctl gets its first token when it deletes a tag, so this token ends before its first use. If it has the token of a
# pull, it takes the challenge of a deletion for a new one.
@pytest.mark.parametrize(
    "name, words, outcome, request_",
    [
        *((name, TOOLS[name].delete, OUTCOMES[name], _DELETE) for name in ("skopeo", "podman", "crane", "oras")),
        ("regctl", TOOLS["regctl"].delete, 401, rf"(?s){_DELETE}.*\r\nAuthorization: Bearer "),
        ("regctl", "manifest delete --force-tag-dereference {image}", "works", _DELETE),
    ],
    ids=["skopeo", "podman", "crane", "oras", "regctl-tag", "regctl-manifest"],
)
def test_a_delete(
    one: Server, folder: Path, name: str, words: str, outcome: object, request_: str, tmp_path: Path
) -> None:
    repository = f"team/deleted-{name}/example"
    push(one, repository, IMAGE)
    tool = replace(TOOLS[name], delete=words)
    _run(one, folder, tool, "delete", outcome, repository, request_, tmp_path)
    assert exists(one, repository, "v1") == (outcome != "works")


def test_ociserver_copy(one: Server, folder: Path, tmp_path: Path) -> None:
    with (
        tapped(one) as tap,
        interposed(tap.address, r"PUT /v2/\S+/manifests/", lambda: _end_all_tokens(one, folder)) as address,
    ):
        source, target = f"{address}/team/v1/example:v1", f"{address}/team/copied/example:v1"
        ociserver(address, "alice", tmp_path).run("copy", source, target)
        pushes = [each.status for each in tap.exchanges() if each.method == "PUT" and "/manifests/" in each.target]
    assert pushes == [401, 201]
    assert digest(one, "team/copied/example", "v1") == IMAGE.digest


def _run(
    server: Server,
    folder: Path,
    tool: Tool,
    operation: str,
    outcome: object,
    repository: str,
    request: str,
    home: Path,
    target: str = "",
) -> list[Exchange]:
    """Run a client as alice. Before a certain request passes, all tokens end. `target` is where a copy goes."""
    with (
        tapped(server) as tap,
        interposed(tap.address, request, lambda: _end_all_tokens(server, folder)) as address,
    ):
        trial = Trial(tool, tap, home, address)
        exchanges = trial.run("alice", operation, outcome, image=trial.image(repository), target=trial.image(target))
    told = [each for each in exchanges if 'error="invalid_token"' in each.answer.get("www-authenticate", "")]
    assert {each.status for each in told} == (set() if tool.program in KEEPS_NO_TOKEN else {401})
    return exchanges


def _end_all_tokens(server: Server, folder: Path) -> None:
    write_config(folder, f"key {next(_numbers)} of these tests, of 32 bytes and more")
    reload(server)
