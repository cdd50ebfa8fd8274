"""The clients. Each has its own home folder, without credentials, caches or settings of the user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.clients.signed_in import push
from tests.clients.signed_in_tools import TOOLS
from tests.support.client import Client
from tests.support.server import Server
from tests.support.servers import SETUPS
from tests.support.signed_in import signed_in_nodes, signed_in_server
from tests.support.tools import require_tool

# Their programs take long to build, so only `make test-full` runs them.
collect_ignore: Final = [] if os.environ.get("FULL_TESTS") else ["test_buildkit.py", "test_oci_client.py"]


def _environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "DOCKER_CONFIG": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "TMPDIR": str(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server `store`. Its data is in `data`."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Server]:
    """A store with two workers, for tests that need its folder, or take too long for every setup."""
    with SETUPS[-1].start(folder) as store:
        yield store


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two nodes with users, and a content of each kind in public/ and in team/.

    Each request goes to the other node, so a node also gets the tokens of the other one.
    """
    with signed_in_nodes(tmp_path_factory.mktemp("users")) as users:
        _push_contents(users)
        yield users


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A store with two workers, and the users and contents of `users`."""
    with signed_in_server(tmp_path_factory.mktemp("workers"), "--workers", "2") as workers:
        _push_contents(workers)
        yield workers


def _push_contents(server: Server) -> None:
    for content in {tool.content.tag: tool.content for tool in TOOLS.values()}.values():
        for project in ("public", "team"):
            push(server, f"{project}/{content.tag}/example", content)


@pytest.fixture
def buildkit(tmp_path: Path) -> Client:
    return Client(require_tool("buildkit-client"), _environment(tmp_path))


@pytest.fixture
def containerd(tmp_path: Path) -> Client:
    return Client(require_tool("containerd-client"), _environment(tmp_path))


@pytest.fixture
def cosign(tmp_path: Path) -> Client:
    return Client(require_tool("cosign-client"), _environment(tmp_path))


@pytest.fixture
def crane(tmp_path: Path) -> Client:
    return Client(require_tool("crane"), _environment(tmp_path), ("--insecure",))


@pytest.fixture
def helm(tmp_path: Path) -> Client:
    return Client(require_tool("helm-client"), _environment(tmp_path))


@pytest.fixture
def oci_client(tmp_path: Path) -> Client:
    return Client(require_tool("rust-client"), _environment(tmp_path))


@pytest.fixture
def oras(tmp_path: Path) -> Client:
    return Client(require_tool("oras"), _environment(tmp_path))


@pytest.fixture
def podman(tmp_path: Path) -> Client:
    return Client(require_tool("podman-client"), _environment(tmp_path))


@pytest.fixture
def regctl(tmp_path: Path, server: Server) -> Client:
    return Client(require_tool("regctl"), _environment(tmp_path), ("--host", f"reg={server.address},tls=disabled"))


@pytest.fixture
def skopeo(tmp_path: Path) -> Client:
    # Debian's skopeo has no trust policy, and refuses to work without one.
    return Client(require_tool("skopeo"), _environment(tmp_path), ("--insecure-policy",))
