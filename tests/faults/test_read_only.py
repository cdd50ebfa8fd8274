"""A folder that cannot be written to, at the start and while it is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import Disk, small_disk
from tests.faults.registry import HALF, LARGE, Registry, error_of, ociserver
from tests.support.server import serve

REFUSED = "the registry cannot write to its folder"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def test_at_the_start(disk: Disk, tmp_path: Path) -> None:
    with serve(["--data", str(disk.data)], tmp_path) as server:
        Registry(server).seed()
    with disk.read_only():
        said = ociserver("serve", "--port", "0", "--data", disk.data, status=1)
        assert "Read-only file system. Set --data to a folder that this user can write to" in said
        for command in ("check", "collect"):
            assert REFUSED in ociserver(command, "--data", disk.data, status=1)
    with serve(["--data", str(disk.data)], tmp_path) as server:
        assert Registry(server).blob(LARGE).body == LARGE


def test_while_it_is_served(disk: Disk, tmp_path: Path) -> None:
    """The database is open and can be written. Requests that need a file are refused until the folder is writable."""
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        with disk.read_only():
            for answer in (registry.push(b"1" + LARGE), registry.append(HALF, len(LARGE))):
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "10"
                assert REFUSED in error_of(answer)
            registry.assert_reads()
            registry.wait_for_log(f"error .*: POST .*: {REFUSED}")
        assert registry.append(HALF, len(LARGE)).status == 202
        assert registry.push(b"1" + LARGE).status == 201
        registry.assert_reads()
    assert "nothing is wrong" in ociserver("check", "--content", "--data", disk.data)
