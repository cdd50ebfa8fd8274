"""`ociserver check`: which images a damaged content breaks, what was repaired, and what the user has to do."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ociserver import Store
from ociserver.cli import main
from tests.contract.contents import descriptor, push_manifest
from tests.store.upgrade.contents import BLOBS, LIST, MISSING_LAYER, OTHER, TAGS, TEAM, UNREFERENCED, digest_of
from tests.store.upgrade.test_upgrade import unpack
from tests.support.server import PROGRAM

LARGE = digest_of(BLOBS["large"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a store whose large files are deleted."""
    data = unpack(tmp_path)
    for path in (data / "blobs").glob("*/*"):
        path.unlink()
    return data


def check(data: Path, *options: str, status: int) -> str:
    done = subprocess.run(
        [*PROGRAM, "check", "--data", str(data), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def findings(data: Path, *options: str, status: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(check(data, "--json", *options, status=status))["findings"]
    return found


def test_the_images_that_a_missing_content_breaks(data: Path) -> None:
    lost = {(one["repository"], one["what"]): one for one in findings(data, status=4) if one["kind"] == "blob missing"}
    assert set(lost) == {(TEAM, LARGE), (OTHER, LARGE), (TEAM, digest_of(UNREFERENCED))}
    in_team = lost[TEAM, LARGE]
    assert digest_of(LIST) in in_team["manifests"], "an index breaks with its image"
    # The signature's own layers are intact.
    assert in_team["tags"] == [tag for tag in TAGS[TEAM] if tag != "signature-as-form"]
    assert lost[OTHER, LARGE]["tags"] == ["docker", "named"]
    unreferenced = lost[TEAM, digest_of(UNREFERENCED)]
    assert (unreferenced["tags"], unreferenced["manifests"]) == ([], [])


def test_the_advice(data: Path) -> None:
    found = check(data, status=4)
    (line,) = [line for line in found.splitlines() if OTHER in line and LARGE in line]
    assert line.endswith("this breaks 2 manifests and tags docker, named")
    named = f"ociserver check --data {data} --repair"
    assert found.splitlines()[-1].startswith(f"What to do: run `{named}`, and then push again: ")
    repaired = check(data, "--repair", status=3).splitlines()
    assert repaired[-2] == "Done: 2 blobs marked as missing."
    assert repaired[-1].startswith("What to do: push again: team/app:docker, ")
    # The content is still missing, and another repair would not help.
    for options in ([], ["--repair"]):
        again = check(data, *options, status=3 if options else 4)
        assert "FAULT" not in again
        assert "Done" not in again
        assert "--repair" not in again
        assert again.splitlines()[-1].startswith("What to do: push again: team/app:docker, ")


def test_references_to_missing_contents_are_reported(data: Path) -> None:
    """Also for Docker's types. It is not a fault, because a client may have deleted the content."""
    (dangling,) = [one for one in findings(data, status=4) if one["kind"] == "dangling"]
    assert (dangling["repository"], dangling["what"], dangling["fault"]) == (OTHER, digest_of(MISSING_LAYER), False)
    unpack(data.parent)
    whole = check(data, status=0)
    assert "nothing is wrong" not in whole
    assert whole.splitlines()[-1].endswith("no faults, 1 reference to missing contents")


def test_the_command_in_the_advice_repairs_the_faults(data: Path) -> None:
    """The command names the options that it needs: for the folder and for the kind of fault."""
    unpack(data.parent)
    data = data.rename(data.parent / "a folder")
    (path,) = [path for path in (data / "blobs").glob("*/*") if path.read_bytes() == BLOBS["large"]]
    path.write_bytes(bytes(len(BLOBS["large"])))
    advice = check(data, "--content", status=4).splitlines()[-1]
    named = advice.split("`")[1]
    assert named.startswith("ociserver check ")
    done = subprocess.run([*PROGRAM, *shlex.split(named)[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (3, "")
    left = [one for one in findings(data, "--content", status=4) if one["fault"]]
    # After a push, nothing is missing.
    assert left
    assert all(one["marked"] for one in left)


def test_an_image_without_its_layers_is_a_few_lines(tmp_path: Path) -> None:
    layers = [descriptor("application/octet-stream", b"%d" % number) for number in range(40)]
    content = json.dumps({"schemaVersion": 2, "layers": layers}).encode()

    async def fill() -> None:
        async with Store(tmp_path, lax_child_references=True) as store:
            await push_manifest(store, content, "application/vnd.example+json")

    asyncio.run(fill())
    lines = check(tmp_path, status=0).splitlines()
    assert len(lines) == 10 + 1 + 1
    assert lines[10].endswith(f"{digest_of(content)}: and 30 more")
    assert lines[11].endswith("no faults, 40 references to missing contents")
    assert len(findings(tmp_path, status=0)) == 40


@pytest.mark.parametrize("command", [["check"], ["collect"], ["delete", "a", "-y"]], ids=lambda command: command[0])
def test_a_folder_that_is_not_a_store(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "other" / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for name, words in (("other", "it holds the data of distribution"), ("link", "which does not exist")):
        done = CliRunner().invoke(main, [*command, "--data", str(tmp_path / name)])
        assert done.exit_code == 1
        assert words in done.stderr
