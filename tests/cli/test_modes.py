"""The modes of a store's folder and files, for any umask."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.process import Serve, serving
from tests.serve.test_shutdown import push


def modes(data: Path) -> tuple[set[int], set[int]]:
    """The modes of folders, including the store's own, and of files."""
    folders, files = {mode_of(data)}, set[int]()
    for path in data.rglob("*"):
        (folders if path.is_dir() else files).add(mode_of(path))
    return folders, files


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def with_umask(umask: int) -> Callable[[], None]:
    def prepare() -> None:
        os.umask(umask)

    return prepare


@contextmanager
def filled(folder: Path, *flags: str, umask: int = 0) -> Iterator[Serve]:
    """A server that has written every kind of file, and a collection on the same folder."""
    data = folder / "data"
    with serving(folder, "--data", str(data), *flags, prepare=with_umask(umask)) as server:
        push(server, "a", b"in the database")
        push(server, "a", os.urandom(100_000))
        command = [sys.executable, "-m", "ociserver", "collect", "--data", str(data)]
        subprocess.run(command, check=True, capture_output=True, umask=umask)
        names = {path.name for path in data.iterdir()}
        database = {f"registry.{end}" for end in ("db", "db-wal", "db-shm", "lock", "reserve")}
        assert names == {"blobs", "collect.lock", "server.lock", *database}
        yield server


@pytest.mark.parametrize(
    "flags, umask, wanted",
    [
        ((), 0, ({0o700}, {0o600})),
        (("--group-readable",), 0, ({0o750}, {0o640, 0o600})),
        (("--group-readable",), 0o077, ({0o700}, {0o600})),
    ],
)
def test_of_a_new_folder(tmp_path: Path, flags: tuple[str, ...], umask: int, wanted: tuple[set[int], set[int]]) -> None:
    with filled(tmp_path, *flags, umask=umask):
        folders, files = modes(tmp_path / "data")
        assert (folders, files) == wanted
        # A folder that only the command has made needs no flag: it is empty.
        other = {path.name for path in (tmp_path / "data").rglob("*") if path.is_file() and mode_of(path) == 0o600}
        assert wanted[1] == {0o600} or other == {"collect.lock"}


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    with filled(tmp_path):
        assert mode_of(data) == 0o755
        assert mode_of(data / "registry.db") == mode_of(data / "registry.db-wal") == 0o600
    for path in (data / "registry.db", data / "blobs"):
        path.chmod(0o770)
    with filled(tmp_path):
        assert mode_of(data / "registry.db") == mode_of(data / "blobs") == 0o770


def test_the_key_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[registry]\nkind = "store"\ndata = "data"\ngroup-readable = true\n')
    with serving(tmp_path, "--config", str(file), prepare=with_umask(0)):
        assert mode_of(tmp_path / "data") == 0o750
        assert mode_of(tmp_path / "data" / "registry.db") == 0o640
