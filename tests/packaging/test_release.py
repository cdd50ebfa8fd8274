"""What a release must contain, and the workflows that build it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest

import ociserver
from tests.packaging.complete import PLATFORMS, expected, mistakes
from tests.support.tools import ROOT, require_tool

WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE: Final = (ROOT / ".github" / "workflows" / "release.yml").read_text()


def test_a_complete_release_has_no_mistakes() -> None:
    assert list(mistakes(expected("1.2.3"), "1.2.3")) == []


def test_a_missing_platform_and_another_version_are_mistakes() -> None:
    names = expected("1.2.3") - {"ociserver-1.2.3.tar.gz"} | {"ociserver-1.2.2.tar.gz"}
    assert list(mistakes(names, "1.2.3")) == [
        "ociserver-1.2.3.tar.gz is missing",
        "ociserver-1.2.2.tar.gz does not belong to the release",
    ]


def test_the_extra_wants_the_extension_of_the_same_version() -> None:
    """The two share Rust code and a state on disk. pyproject.toml cannot take the version from Cargo.toml here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["objects"] == [f"ociserver-objects=={ociserver.__version__}"]


def test_an_incomplete_release_fails_its_job(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.packaging.complete", str(tmp_path), "1.2.3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Nothing may be published" in done.stderr


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_workflow_builds_each_platform(platform: str) -> None:
    """The names of its builds: manylinux-x86_64, musllinux-aarch64, macos-arm64 and so on."""
    system = re.match("manylinux|musllinux|macos", platform)
    machine = re.search("x86_64|aarch64|arm64", platform)
    assert system is not None
    assert machine is not None
    assert f"name: {system[0]}-{machine[0]}\n" in RELEASE


def test_actionlint_finds_nothing() -> None:
    done = subprocess.run([require_tool("actionlint"), *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing() -> None:
    """Among others: actions pinned by hash, least permissions, no credentials that stay in the checkout."""
    zizmor = Path(sys.executable).with_name("zizmor")
    command: list[str | Path] = [
        zizmor,
        "--offline",
        "--pedantic",
        "--strict-collection",
        "--no-progress",
        ROOT / ".github",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
