"""The backends that docs/backends.md builds: one reads what skopeo has written, and one passes the contract suite."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ociserver import Handler
from ociserver.client import Client
from tests.contract.contents import digest_of, read_blob, tags_of
from tests.contract.errors import refused
from tests.docs.snippets import snippets
from tests.serving.uvicorn_here import serve_here
from tests.support.images import Layout


def tutorial(name: str) -> str:
    """The snippet that defines a class."""
    (text,) = [
        snippet.text
        for snippet in snippets("python")
        if snippet.document == "docs/backends.md" and f"\nclass {name}(" in snippet.text
    ]
    return text


def run(name: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "tutorial"}
    exec(compile(tutorial(name), name, "exec"), namespace)  # noqa: S102 - our own documentation
    return namespace[name]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_the_backend_that_reads(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "group" / "app")
    image = layout.image(b"layer", b"other layer")
    digest = layout.tag(image, "v1")
    layout.tag(image, "v2")
    async with serve_here(Handler(run("Layouts")(tmp_path))) as site, Client(site.url) as client:
        assert (await client.resolve_tag("group/app", "v1")).digest == digest
        manifest = await client.get_tag("group/app", "v1")
        assert digest_of(manifest.content) == digest
        assert await tags_of(client, "group/app") == ["v1", "v2"]
        for entry in json.loads(manifest.content)["layers"]:
            assert digest_of(await read_blob(client, entry["digest"], repository="group/app")) == entry["digest"]
        with refused("NAME_UNKNOWN"):
            await client.get_tag("no/such", "v1")
        with refused("MANIFEST_UNKNOWN"):
            await client.get_tag("group/app", "v3")


STRANGER = """
from ociserver import Memory
from ociserver.testing.contract import BackendContract, Capabilities


class Forgetful(Memory):
    async def get_tag(self, repository, tag):
        return await super().get_tag(repository, "latest")


class TestForgetful(BackendContract):
    can = Capabilities(settings=False)

    def make(self, folder, settings):
        return Forgetful()


class TestReader(BackendContract):
    can = Capabilities(writes=False, deletes=False, refusal="UNSUPPORTED", mounts_from_anywhere=False, settings=False)

    def make(self, folder, settings):
        from ociserver.compose import ReadOnly
        self.memory = Memory()
        return ReadOnly(self.memory)

    def make_filled(self, folder, backend):
        return self.memory
"""


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-rfs", "--strict-markers", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_suite_in_a_project_of_somebody_else(tmp_path: Path) -> None:
    """It finds the mistake, shows values, and skips what is not declared."""
    (tmp_path / "test_mine.py").write_text(STRANGER)
    done = run_pytest(tmp_path, "-k", "unknown or tags or writes")
    assert done.returncode == 1, done.stdout + done.stderr
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed
    assert all("TestForgetful" in line for line in failed), done.stdout
    assert any("test_several_tags" in line for line in failed), done.stdout
    assert "TestReader.can says that the backend has not: deletes, writes" in done.stdout


def test_the_backend_that_writes_passes_the_suite(tmp_path: Path) -> None:
    """With the test that the page shows."""
    (tmp_path / "small.py").write_text(tutorial("Small"))
    test = (
        tutorial("TestMine")
        .replace("ociserver.Memory()", "small.Small()")
        .replace("import ociserver", "import small, ociserver", 1)
    )
    assert "small.Small()" in test
    (tmp_path / "test_mine.py").write_text(f"import small\n{test}")
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) > 200
