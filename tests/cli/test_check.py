"""`ociserver check`: which images a damaged content takes with it, what was done, and what is left to do."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.store.upgrade.contents import BLOBS, LIST, MISSING_LAYER, OTHER, TAGS, TEAM, UNREFERENCED, digest_of
from tests.store.upgrade.test_upgrade import OLD
from tests.support.server import PROGRAM

LARGE = digest_of(BLOBS["large"])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder whose large files are gone."""
    with tarfile.open(OLD) as archive:
        archive.extractall(tmp_path, filter="data")
    for path in (tmp_path / "data" / "blobs").glob("*/*"):
        path.unlink()
    return tmp_path / "data"


def check(data: Path, *options: str, status: int) -> str:
    done = subprocess.run(
        [*PROGRAM, "check", "--data", str(data), *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def findings(data: Path, *options: str, status: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(check(data, "--json", *options, status=status))["findings"]
    return found


def test_what_a_missing_content_takes_with_it(data: Path) -> None:
    lost = {(one["repository"], one["what"]): one for one in findings(data, status=4) if one["kind"] == "blob missing"}
    assert set(lost) == {(TEAM, LARGE), (OTHER, LARGE), (TEAM, digest_of(UNREFERENCED))}
    in_team = lost[TEAM, LARGE]
    assert digest_of(LIST) in in_team["manifests"], "an index breaks with its image"
    # The signature's own layers are whole.
    assert in_team["tags"] == [tag for tag in TAGS[TEAM] if tag != "signature-as-form"]
    assert lost[OTHER, LARGE]["tags"] == ["docker", "named"]
    unreferenced = lost[TEAM, digest_of(UNREFERENCED)]
    assert (unreferenced["tags"], unreferenced["manifests"]) == ([], [])


def test_what_it_says_is_to_be_done(data: Path) -> None:
    found = check(data, status=4)
    (line,) = [line for line in found.splitlines() if OTHER in line and LARGE in line]
    assert line.endswith("this breaks 2 manifests and tags docker, named")
    assert found.splitlines()[-1].startswith("What to do: run `ociserver check --repair`, and then push again: ")
    repaired = check(data, "--repair", status=3).splitlines()
    assert repaired[-2] == "Done: 2 blobs marked as missing."
    assert repaired[-1].startswith("What to do: push again: team/app:docker, ")
    # It is still missing, and repairing again is of no use.
    for options in ([], ["--repair"]):
        again = check(data, *options, status=3 if options else 4)
        assert "FAULT" not in again
        assert "Done" not in again
        assert "--repair" not in again
        assert again.splitlines()[-1].startswith("What to do: push again: team/app:docker, ")


def test_references_to_nothing_are_not_nothing(data: Path) -> None:
    """Of Docker's types too; no fault, as a client may have deleted it."""
    (dangling,) = [one for one in findings(data, status=4) if one["kind"] == "dangling"]
    assert (dangling["repository"], dangling["what"], dangling["fault"]) == (OTHER, digest_of(MISSING_LAYER), False)
    with tarfile.open(OLD) as archive:
        archive.extractall(data.parent, filter="data")
    whole = check(data, status=0)
    assert "nothing is wrong" not in whole
    assert whole.splitlines()[-1].endswith("no faults, 1 reference to missing contents")
