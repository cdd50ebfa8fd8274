"""docs/moving.md: its commands move images out of distribution, and show that all tags have moved."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ociserver import Handler, Memory
from tests.cli.process import clean_environment, serving
from tests.cli.registries.conftest import ociserver_here, serve_backend
from tests.copy.images import Images, fill
from tests.docs.pages import block
from tests.registries.kinds import KINDS
from tests.support.tools import require_tool

LAYER = bytes(range(256)) * 4096
REPOSITORIES = ("team/app",)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def run(script: str, home: Path) -> str:
    """Run commands of the page in a shell. They find the `ociserver` that is tested."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(
        {"PATH": path, "DOCKER_CONFIG": str(home), "REGISTRY_AUTH_FILE": str(home / "none")}
    )
    done = subprocess.run(
        ["/bin/bash", "-euc", script], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# It starts a dozen processes.
@pytest.mark.timeout(300)
@pytest.mark.anyio
async def test_out_of_distribution(tmp_path: Path) -> None:
    require_tool("skopeo")
    kind = next(kind for kind in KINDS if kind.name == "distribution 3")
    with kind.start(tmp_path) as running, serving(tmp_path, "--data", str(tmp_path / "data")) as server:
        old, new = running.url.removeprefix("http://"), f"localhost:{server.port}"
        places = {"registry.example:5000": old, "localhost:5000": new}
        images = await fill_there(old, tmp_path)
        script = block("moving.md", "old=", places)
        for _ in range(2):  # the commands can be repeated
            await asyncio.to_thread(run, script, tmp_path)
        check = f"old={old}\nnew={new}\n{block('moving.md', 'for repository in', {})}"
        said = await asyncio.to_thread(run, check, tmp_path)
        assert said.split("\n") == [*(f"{repository}: same tags" for repository in REPOSITORIES), ""]
        for reference in (f"{new}/team/app:v1", f"{new}/team/app:latest"):
            shown = await ociserver_here("manifest", reference, home=tmp_path)
            assert shown.stdout == images.index
        listed = await ociserver_here("referrers", f"{new}/team/app:v1", home=tmp_path)
        assert listed.stdout.count(b"sha256:") == 1
        with_skopeo = block(
            "moving.md", "skopeo sync", places | {"--dest-tls-verify": "--src-tls-verify=false --dest-tls-verify"}
        )
        with_skopeo = with_skopeo.replace(f"{new}/team", f"{new}/synced")
        await asyncio.to_thread(run, with_skopeo, tmp_path)
        synced = await ociserver_here("manifest", f"{new}/synced/app:amd64", home=tmp_path)
        # The manifest itself may be written anew, as the page says.
        assert json.loads(synced.stdout)["config"] == json.loads(images.amd64)["config"]


async def fill_there(old: str, home: Path) -> Images:
    """Put images of several platforms, with referrers, into a registry."""
    source = Memory()
    images = [await fill(source, repository, LAYER) for repository in REPOSITORIES]
    async with serve_backend(Handler(source)) as here:
        for repository in REPOSITORIES:
            arguments = ("copy", "--all-tags", "--referrers", f"{here}/{repository}", f"{old}/{repository}")
            done = await ociserver_here(*arguments, home=home)
            assert done.status == 0, done.stderr
    return images[0]
