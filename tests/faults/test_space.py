"""Space that small blobs and a long reader take in the database: the file system gets it back while it is served.

With FULL_TESTS there are 6,000 blobs, as many as nobody would miss.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ociserver.store.pages import PAGE_SIZE
from ociserver.store.sqlite import MAX_LOG_AT_RESTART
from ociserver.store.upkeep import MAX_LOG, SPARE_PAGES
from tests.cli.process import eventually
from tests.faults.registry import REPOSITORY, digest_of, ociserver
from tests.support.server import Server, serve

FULL = bool(os.environ.get("FULL_TESTS"))
BLOBS = 6_000 if FULL else 600
SIZE = 16_000
CLIENTS = 8

pytestmark = pytest.mark.timeout(600 if FULL else 120)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(["--data", str(tmp_path / "data"), "--no-access-log"], tmp_path) as server:
        yield server


def each(server: Server, method: str, contents: list[bytes], status: int) -> None:
    """One request for each content, of several clients at once."""
    queue, statuses = iter(contents), []
    mutex = threading.Lock()

    def work() -> None:
        with closing(HTTPConnection(server.host, server.port, timeout=60)) as connection:
            while True:
                with mutex:
                    content = next(queue, None)
                if content is None:
                    return
                digest = digest_of(content)
                if method == "POST":
                    connection.request(method, f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest}", content)
                else:
                    connection.request(method, f"/v2/{REPOSITORY}/blobs/{digest}")
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [status] * len(contents)


def used(data: Path) -> int:
    """Bytes that the folder takes of the disk."""
    return sum(path.stat().st_blocks * 512 for path in data.rglob("*") if path.is_file())


@contextmanager
def reading(data: Path) -> Iterator[None]:
    """A program that has the database open for long, as one does that makes a backup."""
    with closing(sqlite3.connect(data / "registry.db", isolation_level=None)) as database:
        database.execute("BEGIN")
        database.execute("SELECT COUNT(*) FROM copies").fetchone()
        yield


def collect(data: Path) -> dict[str, int]:
    report: dict[str, int] = json.loads(ociserver("collect", "--grace", "0s", "--json", "--data", data))
    return report


def test_small_blobs_that_are_collected(server: Server, tmp_path: Path) -> None:
    """What is reported as freed is free when the command ends; and what is left is whole."""
    data = tmp_path / "data"
    contents = [os.urandom(SIZE) for _ in range(BLOBS)]
    each(server, "POST", contents, 201)
    kept = contents[:: BLOBS // 20]
    each(server, "DELETE", [content for content in contents if content not in kept], 202)
    before = used(data)
    report = collect(data)
    total = (BLOBS - len(kept)) * SIZE
    assert report["freed_bytes"] + report["kept_bytes"] == total
    assert report["kept_bytes"] <= SPARE_PAGES * PAGE_SIZE
    assert before - used(data) >= report["freed_bytes"]
    assert (data / "registry.db").stat().st_size < len(kept) * 2 * SIZE + 2 * SPARE_PAGES * PAGE_SIZE
    each(server, "GET", kept, 200)
    assert "nothing is wrong" in ociserver("check", "--content", "--data", data)
    # And what is pushed next takes no more than before.
    each(server, "POST", contents, 201)


def test_a_log_that_a_reader_has_made_long(server: Server, tmp_path: Path) -> None:
    """It is cut when the reader has ended, without a further write."""
    log = tmp_path / "data" / "registry.db-wal"
    with reading(tmp_path / "data"):
        for _ in range(20):
            each(server, "POST", [os.urandom(SIZE) for _ in range(200)], 201)
            if log.stat().st_size > 2 * MAX_LOG:
                break
        assert log.stat().st_size > 2 * MAX_LOG
    eventually(lambda: log.stat().st_size <= MAX_LOG_AT_RESTART, "the log to be cut", server.log_tail)


def test_what_a_reader_holds_back_is_not_reported_as_freed(server: Server, tmp_path: Path) -> None:
    data = tmp_path / "data"
    contents = [os.urandom(SIZE) for _ in range(BLOBS)]
    each(server, "POST", contents, 201)
    each(server, "DELETE", contents, 202)
    with reading(data):
        report = collect(data)
        assert report["freed_bytes"] == 0
        assert report["pending_bytes"] + report["kept_bytes"] == BLOBS * SIZE
        assert report["pending_bytes"] > 0
    before = (data / "registry.db").stat().st_size
    eventually(lambda: (data / "registry.db").stat().st_size < before / 2, "a short file", server.log_tail)
