"""The clients, each with a home of its own: no credentials, no caches, no settings of whoever runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.server import Server
from tests.support.tools import require_tool


def _environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "DOCKER_CONFIG": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "TMPDIR": str(home),
        "PATH": os.environ.get("PATH", os.defpath),
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture
def crane(tmp_path: Path) -> Client:
    return Client(require_tool("crane"), _environment(tmp_path), ("--insecure",))


@pytest.fixture
def oras(tmp_path: Path) -> Client:
    return Client(require_tool("oras"), _environment(tmp_path))


@pytest.fixture
def regctl(tmp_path: Path, server: Server) -> Client:
    return Client(require_tool("regctl"), _environment(tmp_path), ("--host", f"reg={server.address},tls=disabled"))


@pytest.fixture
def skopeo(tmp_path: Path) -> Client:
    # Debian's skopeo brings no policy of which images to trust, and refuses to work without one.
    return Client(require_tool("skopeo"), _environment(tmp_path), ("--insecure-policy",))
