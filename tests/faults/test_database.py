"""A database that is damaged, locked, of a newer version, or of another program."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ociserver.store.sqlite_writer import LOCK_WAIT_S
from tests.faults import impatient
from tests.faults.registry import LARGE, SMALL, Registry, error_of, ociserver
from tests.support.damage import spoil, spoil_tables
from tests.support.server import PROGRAM, serve

FULL = bool(os.environ.get("FULL_TESTS"))
COMMANDS = (("serve", "--port", "0"), ("check",), ("collect",))
BRIEF_S = 2
LONG_S = 60 if FULL else 1
"""For so long pushes are tried again; each of them waits for `LOCK_S`."""
LOCK_S = LOCK_WAIT_S if FULL else impatient.LOCK_WAIT_S


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a server that has ended."""
    data = tmp_path / "data"
    with serve(["--data", str(data)], tmp_path) as server:
        Registry(server).seed()
    return data


@contextmanager
def locked(data: Path) -> Iterator[None]:
    with closing(sqlite3.connect(data / "registry.db", isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


def test_a_header_that_is_overwritten(data: Path) -> None:
    spoil(data / "registry.db", 0, 100)
    for command in COMMANDS:
        said = ociserver(*command, "--data", data, status=1)
        assert "registry.db is damaged" in said
        assert "restore a backup" in said


def test_pages_that_are_overwritten(data: Path, tmp_path: Path) -> None:
    """Met by the requests that read them, since reading all of them at the start would take long."""
    spoil_tables(data / "registry.db")
    with serve(["--data", str(data)], tmp_path) as server:
        registry = Registry(server)
        for answer in (registry.blob(SMALL), registry.push(b"another"), registry.ask("DELETE", "manifests/one")):
            assert answer.status == 500
            assert "the registry's database is damaged" in error_of(answer)
        registry.wait_for_log("error .*: GET .*: the registry's database is damaged")
    for command in ("check", "collect"):
        said = ociserver(command, "--data", data, status=1)
        assert "the registry's database is damaged" in said
        assert "restore a backup" in said


def test_pages_that_are_overwritten_while_it_is_served(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serve(["--data", str(data)], tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        with closing(sqlite3.connect(data / "registry.db")) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        spoil(data / "registry.db", 0)
        for answer in (registry.blob(LARGE), registry.blob(SMALL), registry.push(b"another")):
            assert answer.status == 500
            assert "the registry's database is damaged" in error_of(answer)


def test_locked_for_a_moment(data: Path, tmp_path: Path) -> None:
    """Pushes wait. Reads do not."""
    answers = []
    with serve(["--data", str(data)], tmp_path) as server:
        registry = Registry(server)
        with locked(data):
            began = time.monotonic()
            push = threading.Thread(target=lambda: answers.append(registry.push(b"another")))
            push.start()
            registry.assert_reads()
            assert time.monotonic() - began < BRIEF_S
            time.sleep(BRIEF_S)
            assert answers == []
        push.join()
    assert [answer.status for answer in answers] == [201]


@pytest.mark.timeout(240)
def test_locked_for_long(data: Path, tmp_path: Path) -> None:
    """A push gives up after a while and says when to come back; reads go on all the time."""
    program = PROGRAM if FULL else (sys.executable, impatient.__file__)
    with serve(["--data", str(data)], tmp_path, program=program) as server:
        registry = Registry(server)
        began = time.monotonic()
        with locked(data):
            while time.monotonic() - began < LONG_S:
                before = time.monotonic()
                answer = registry.push(b"another")
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "10"
                assert "locked by another program" in error_of(answer)
                assert 0.9 * LOCK_S < time.monotonic() - before < LOCK_S + 10
                registry.assert_reads()
        assert registry.push(b"another").status == 201
        registry.wait_for_log("error .*: POST .*: the registry's database is locked by another program")


def test_a_newer_one(data: Path) -> None:
    with closing(sqlite3.connect(data / "registry.db")) as database:
        database.execute("PRAGMA user_version = 99")
    for command in COMMANDS:
        said = ociserver(*command, "--data", data, status=1)
        assert "was written by a newer ociserver (its tables are version 99" in said
        assert "upgrade ociserver" in said


def test_one_that_another_server_uses(data: Path, tmp_path: Path) -> None:
    with serve(["--data", str(data)], tmp_path) as server:
        said = ociserver("serve", "--port", "0", "--data", data, status=1)
        assert f"another `ociserver serve` is running on {data}. Stop it, or serve another folder" in said
        assert Registry(server).blob(LARGE).body == LARGE


def test_one_that_is_missing(data: Path) -> None:
    """With an empty database in its place, collection would delete all files."""
    for path in data.glob("registry.db*"):
        path.unlink()
    said = ociserver("serve", "--port", "0", "--data", data, status=1)
    assert "registry.db is missing, but there are blobs beside it: restore it from a backup" in said
