"""`ociserver copy` and `ociserver bench` sign in with what `docker login` has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.clients.contents import IMAGE
from tests.clients.signed_in import WHO, digest, ociserver
from tests.support.server import Server
from tests.support.signed_in import reload
from tests.support.tap import tapped

BENCH: Final = ("--seconds", "0.1", "--clients", "2", "--entries", "20", "--only", "image-push,blob-head")


def test_copy(workers: Server, tmp_path: Path) -> None:
    with tapped(workers) as tap:
        source, target = f"{tap.address}/team/v1/example:v1", f"{tap.address}/team/copied/example:v1"
        ociserver(tap.address, "alice", tmp_path).run("copy", source, target)
        mounts = [each for each in tap.exchanges() if "mount=" in each.target and each.status == 201]
    assert digest(workers, "team/copied/example", "v1") == IMAGE.digest
    assert len(mounts) == len(IMAGE.blobs)


@pytest.mark.parametrize(
    "who, message",
    [
        ("nobody", "Try `docker login {address}`."),
        ("wrong", "Try `docker login {address}`."),
        ("bob", "Check that the user of `docker login {address}` has permission to do this."),
        ("mallory", "Check that the user of `docker login {address}` has permission to do this."),
    ],
)
def test_copy_without_the_right(workers: Server, who: str, message: str, tmp_path: Path) -> None:
    if who == "wrong":
        reload(workers)
    repository = f"team/not-copied-by-{who}/example"
    source, target = f"{workers.address}/team/v1/example:v1", f"{workers.address}/{repository}:v1"
    said = ociserver(workers.address, who, tmp_path).refused("copy", source, target)
    assert message.format(address=workers.address) in said
    _is_clear(said, who)
    assert digest(workers, repository, "v1") is None


def test_copy_of_a_public_image(workers: Server, tmp_path: Path) -> None:
    """Nobody has to sign in for the source, only for the target."""
    said = ociserver(workers.address, "mallory", tmp_path).refused(
        "copy", f"{workers.address}/public/v1/example:v1", f"{workers.address}/public/copied/example:v1"
    )
    assert "let you push public/copied/example" in said
    ociserver(workers.address, "alice", tmp_path).run(
        "copy", f"{workers.address}/public/v1/example:v1", f"{workers.address}/public/copied/example:v1"
    )


def test_bench(workers: Server, tmp_path: Path) -> None:
    client = ociserver(workers.address, "alice", tmp_path)
    report = client.json("bench", workers.url, *BENCH, "--repository", "team/bench", "--json", "-")
    for workload in report["workloads"]:
        assert (workload["failed"], workload["errors"]) == (None, {})
        assert workload["count"] > 0
    assert report["not_deleted"] == {}


def test_bench_with_a_wrong_password(workers: Server, tmp_path: Path) -> None:
    reload(workers)
    said = ociserver(workers.address, "wrong", tmp_path).refused(
        "bench", workers.url, *BENCH, "--repository", "team/bench"
    )
    assert f"try `docker login {workers.address}`" in said
    _is_clear(said, "wrong")


@pytest.mark.parametrize(
    "who, message", [("nobody", "401: {"), ("bob", "the rules of this registry do not let you push team/bench")]
)
def test_bench_without_the_right(workers: Server, who: str, message: str, tmp_path: Path) -> None:
    client = ociserver(workers.address, who, tmp_path)
    json_file = tmp_path / "report.json"
    said = client.refused("bench", workers.url, *BENCH, "--repository", "team/bench", "--json", json_file)
    assert "no workload could be run" in said
    report = json.loads(json_file.read_text())
    assert len(report["workloads"]) == 2
    for workload in report["workloads"]:
        assert workload["count"] == 0
        assert message in workload["failed"]


def _is_clear(said: str, who: str) -> None:
    assert "Traceback" not in said
    name_and_password = WHO[who]
    assert name_and_password is None or name_and_password[1] not in said
