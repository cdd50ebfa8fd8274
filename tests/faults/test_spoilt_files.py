"""Blob files that another program has changed, below a running server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.registry import LARGE, Registry, digest_of, ociserver
from tests.support.server import serve

REPAIRED, LEFT = 3, 4


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)[0]
        file.seek(1000)
        file.write(bytes([byte ^ 1]))


def truncate(path: Path) -> None:
    os.truncate(path, 1000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def registry(data: Path, tmp_path: Path) -> Iterator[Registry]:
    with serve(["--data", str(data)], tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        yield registry


def file_of(data: Path, content: bytes) -> Path:
    with closing(sqlite3.connect(data / "registry.db")) as database:
        key: str = database.execute("SELECT key FROM copies WHERE digest = ?", (digest_of(content),)).fetchone()[0]
    return data / "blobs" / key[:2] / key


@pytest.mark.parametrize("spoil, kind", [(Path.unlink, "blob missing"), (truncate, "blob size")])
def test_a_file_that_is_gone_or_too_short(
    spoil: Callable[[Path], None], kind: str, registry: Registry, data: Path
) -> None:
    """A client gets 404 for the blob, pushes it again, and so repairs it."""
    spoil(file_of(data, LARGE))
    assert registry.blob(LARGE, "HEAD").status == 404
    answer = registry.blob(LARGE)
    assert (answer.status, b"BLOB_UNKNOWN" in answer.body) == (404, True)
    assert f"FAULT  {kind}" in ociserver("check", "--data", data, status=LEFT)
    assert registry.push(LARGE).status == 201
    registry.assert_reads()
    assert "nothing is wrong" in ociserver("check", "--content", "--data", data)


def test_a_byte_that_has_flipped(registry: Registry, data: Path) -> None:
    """Only reading it tells: the size is right. Marked by a repair it is as if it was gone."""
    flip(file_of(data, LARGE))
    answer = registry.blob(LARGE)
    assert answer.status == 200
    assert digest_of(answer.body) != digest_of(LARGE), "which every client compares"
    assert "nothing is wrong" in ociserver("check", "--data", data)
    assert "FAULT  blob digest" in ociserver("check", "--content", "--data", data, status=LEFT)
    assert "repaired  blob digest" in ociserver("check", "--content", "--repair", "--data", data, status=REPAIRED)
    assert registry.blob(LARGE, "HEAD").status == registry.blob(LARGE).status == 404
    assert registry.push(LARGE).status == 201
    registry.assert_reads()
    assert "nothing is wrong" in ociserver("check", "--content", "--data", data)
