"""A disk without a free byte: pushes are refused, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import Disk, small_disk
from tests.faults.registry import HALF, LARGE, SMALL, Registry, digest_of, error_of, image, ociserver
from tests.support.http import send, with_query
from tests.support.server import serve

COLLECT = ("collect", "--grace", "0s", "--unreferenced-after", "0s")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def registry(disk: Disk, tmp_path: Path) -> Iterator[Registry]:
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        yield registry


def test_pushes_are_refused_and_reads_go_on(disk: Disk, registry: Registry) -> None:
    disk.fill()
    for what, answer in registry.pushes().items():
        assert (what, answer.status) == (what, 507)
        assert "disk is full: free some space, or delete and collect" in error_of(answer)
    registry.assert_reads()
    registry.wait_for_log("error .*: POST .*: the registry's disk is full: free some space")
    assert "nothing is wrong" in ociserver("check", "--content", "--data", disk.data)


def test_room_that_comes_back_is_used(disk: Disk, registry: Registry) -> None:
    """Without a restart, and the upload goes on from where it was."""
    disk.fill()
    assert registry.append(HALF, len(LARGE)).status == 507
    disk.make_room()
    assert send(registry.server, "GET", registry.upload).headers["Range"] == f"0-{HALF - 1}"
    assert registry.append(HALF, len(LARGE)).status == 202
    assert send(registry.server, "PUT", with_query(registry.upload, f"digest={digest_of(LARGE)}")).status == 201
    assert registry.push(os.urandom(300_000)).status == 201
    assert registry.push_manifest("two", image(LARGE)).status == 201
    registry.assert_reads()


def test_deleting_and_collecting_make_room(disk: Disk, registry: Registry) -> None:
    disk.fill()
    assert registry.push(os.urandom(150_000)).status == 507
    assert registry.blob(LARGE, "DELETE").status == 202
    assert send(registry.server, "DELETE", registry.upload).status == 204
    assert "195.3 KiB freed" in ociserver(*COLLECT, "--data", disk.data)
    assert registry.push(os.urandom(150_000)).status == 201
    assert registry.ask("DELETE", "manifests/one").status == 202
    assert "nothing is wrong" in ociserver("check", "--content", "--data", disk.data)
    assert registry.blob(SMALL).body == SMALL


def test_collecting_without_a_server(disk: Disk, tmp_path: Path) -> None:
    """Opening the folder takes room too."""
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        registry.blob(LARGE, "DELETE")
    disk.fill()
    assert "195.3 KiB freed" in ociserver(*COLLECT, "--data", disk.data)
    with serve(["--data", str(disk.data)], tmp_path) as server:
        assert Registry(server).blob(SMALL).body == SMALL


def test_the_room_for_deleting_is_kept_again(disk: Disk, registry: Registry) -> None:
    reserve = disk.data / "registry.reserve"
    assert reserve.stat().st_blocks * 512 == reserve.stat().st_size > 0
    disk.fill()
    assert registry.blob(LARGE, "DELETE").status == 202
    assert not reserve.exists()
    disk.make_room()
    ociserver(*COLLECT, "--data", disk.data)
    assert reserve.exists()


def test_what_was_acknowledged_is_there(disk: Disk, tmp_path: Path) -> None:
    """The disk fills up by pushes alone, to the last one that fits; the next server has all of them."""
    pushed = []
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        for number in range(10_000):
            content = os.urandom(400_000 if number % 4 else 5000)
            status = registry.push(content).status
            assert status in (201, 507)
            if status == 507:
                break
            pushed.append(content)
        assert status == 507
        for _ in range(20):
            assert registry.push(os.urandom(400_000)).status == 507
    with serve(["--data", str(disk.data)], tmp_path) as server:
        for content in pushed:
            assert Registry(server).blob(content).body == content
