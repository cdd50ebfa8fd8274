"""The clients, each with a home of its own: no credentials, no caches, no settings of whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.client import Client
from tests.support.server import Server
from tests.support.servers import SETUPS
from tests.support.tools import require_tool

# Those whose programs take long to build: `make test-full` runs them.
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
    """Where the server `store` keeps its data, under `data`."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Server]:
    """The store with two workers, for what takes too long over every setup, or needs the folder."""
    with SETUPS[-1].start(folder) as store:
        yield store


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
    # Debian's skopeo brings no policy of which images to trust, and refuses to work without one.
    return Client(require_tool("skopeo"), _environment(tmp_path), ("--insecure-policy",))
