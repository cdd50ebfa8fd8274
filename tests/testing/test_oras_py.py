"""The test suite of oras-py, which its package has, against the fixture instead of a registry in a container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import oras  # type: ignore[import-untyped]
import pytest

from ociserver.testing import Registry

TIMEOUT_S: Final = 60

SETTINGS: Final = """\
[pytest]
addopts = -p no:cacheprovider -p no:ociserver --strict-markers -rfs
markers = with_auth
"""


SIGNED_IN: Final = ("login", "selfsigned", "docker_config")
"""The tests that expect users, and TLS with an authority that they do not know."""

LEFT_OUT: Final = ("get_many_tags", "ssl_", "chunked_push")
"""Tests that ask ghcr.io, and one that hashes a file of several GB."""


@pytest.mark.parametrize(
    "selected,passed",
    [
        pytest.param(" or ".join(SIGNED_IN), 3, marks=pytest.mark.oci_registry(auth=True, tls=True), id="signed in"),
        pytest.param(" and ".join(f"not {name}" for name in (*SIGNED_IN, *LEFT_OUT)), 60, id="without users"),
    ],
)
def test_its_own_tests(oci_registry: Registry, tmp_path: Path, selected: str, passed: int) -> None:
    # They read files beside them, and write some.
    suite = tmp_path / "oras-tests"
    shutil.copytree(Path(oras.__file__).parent / "tests", suite, ignore=shutil.ignore_patterns("__pycache__", "auth"))
    (suite / "pytest.ini").write_text(SETTINGS)
    host, port = oci_registry.host.split(":")
    environment = os.environ | {"ORAS_HOST": host, "ORAS_PORT": port, "HOME": str(tmp_path), "NO_PROXY": host}
    if oci_registry.credentials:
        user, password = oci_registry.credentials
        environment |= {"ORAS_AUTH": "true", "ORAS_USER": user, "ORAS_PASS": password}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-k", selected, str(suite)],
        cwd=suite,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = re.search(r"(\d+) passed", done.stdout)
    assert count, done.stdout
    assert int(count[1]) >= passed, done.stdout
    assert all(request.status and request.status < 500 for request in oci_registry.requests)
    assert any(request.kind == "manifest_put" for request in oci_registry.requests)
