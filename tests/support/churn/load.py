"""The load test: a server, its clients, collections beside it, and a check of what is left at the end."""

from __future__ import annotations

import json
import pickle
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.aging import age_files
from tests.support.churn.client import Client
from tests.support.churn.image import Image
from tests.support.churn.ledger import Ledger, Promise
from tests.support.churn.tally import Tally
from tests.support.http import send
from tests.support.server import PROGRAM, Server, serve

CLIENTS: Final = 16
PATIENCE_S: Final = 3
"""How long collection keeps a blob that no manifest references: longer than a push takes here."""

PROMISED_S: Final = 0.9 * PATIENCE_S
"""How long a blob is safe after a HEAD. The server does not record each HEAD."""

HOUR_S: Final = 3600
COMMAND_TIMEOUT_S: Final = 100.0

STATE: Final = "promised"
"""The file beside the store with the promises and the report, for a later run."""

_EVERYTHING: Final = ("--unreferenced-after", "0", "--upload-timeout", "0", "--delete-untagged-after", "0")


@dataclass(slots=True)
class Report:
    """What the load has done.

    Args:
        seconds: how long the clients worked.
        parts: number of runs.
        tally: of all clients.
        collections: number of collections meanwhile.
        freed: number of contents that they freed, by reason.
        freed_bytes: bytes that they freed, in files and in the database.
        left: images at the end. Each was pulled completely.
        left_bytes: size of their blobs, which is all that is stored.
    """

    seconds: float = 0
    parts: int = 0
    tally: Tally = field(default_factory=Tally)
    collections: int = 0
    freed: Counter[str] = field(default_factory=Counter)
    freed_bytes: int = 0
    left: int = 0
    left_bytes: int = 0


def run(folder: Path, seconds: float) -> Report:
    """Run the load on the store in a folder, which may be that of an earlier run. Raises at the first failure.

    Returns:
        The report of all runs on this folder together.
    """
    data, ledger = folder / "data", Ledger()
    report = _take_up(folder, ledger)
    patience = ("--unreferenced-after", f"{PATIENCE_S}s", "--delete-untagged-after", f"{PATIENCE_S}s")
    options = ("--workers", "2", "--collect-every", "0", "--no-access-log", *patience)
    with serve(["--data", str(data), *options], folder) as server:
        _work(server, data, ledger, report, seconds)
        _tidy(server, data, ledger)
        _compare(data, ledger, report)
        promises = ledger.promises()
        client = Client(server, ledger, 0, PROMISED_S)
        with client.connections:
            for promise in promises:
                client.pull(promise)
        assert client.tally.counts["pulls"] == len(promises)
    report.seconds += seconds
    report.parts += 1
    report.left = len(promises)
    (folder / STATE).write_bytes(pickle.dumps(([promise.image for promise in promises], report)))
    return report


def _take_up(folder: Path, ledger: Ledger) -> Report:
    """Load the promises and the report of an earlier run, if there was one."""
    state = folder / STATE
    if not state.exists():
        return Report()
    images: list[Image]
    images, report = pickle.loads(state.read_bytes())  # noqa: S301 - our own
    for image in images:
        paths = [*image.parts, *([image.tag_path] if image.tag_path else [])]
        ledger.promise(Promise(image, ledger.mark(paths)))
    assert isinstance(report, Report)
    return report


def _work(server: Server, data: Path, ledger: Ledger, report: Report, seconds: float) -> None:
    """Run clients and collections for `seconds`, or until the first failure."""
    stop = threading.Event()
    # The clients of each run have other seeds. Two images with the same own tag would break a promise.
    numbers = range(CLIENTS * report.parts, CLIENTS * (report.parts + 1))
    clients = [Client(server, ledger, number, PROMISED_S) for number in numbers]
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    try:
        while time.monotonic() < end and not stop.is_set():
            _collect_once(data, report)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for client in clients:
        report.tally.add(client.tally)
        if client.failure is not None:
            raise client.failure


def _collect_once(data: Path, report: Report) -> None:
    patience = f"{PATIENCE_S}s"
    options = ("--unreferenced-after", patience, "--upload-timeout", patience, "--delete-untagged-after", patience)
    done = _command("collect", "--data", str(data), "--grace", "0s", *options)
    report.collections += 1
    report.freed.update(done["counts"])
    report.freed_bytes += done["freed_bytes"]


def _tidy(server: Server, data: Path, ledger: Ledger) -> None:
    """Delete what is not promised, and collect without grace periods until nothing more is freed."""
    kept = {image.path for promise in ledger.promises() for image in promise.image.all}
    there = _manifests(data)
    assert kept <= there, f"lost: {kept - there}"
    for path in there - kept:
        assert send(server, "DELETE", path).status == 202, path
    with _database(data) as database:
        columns = {"links": "renewed", "copies": "idle_since", "manifests": "renewed", "uploads": "touched"}
        for table, column in columns.items():
            database.execute(f"UPDATE {table} SET {column} = {column} - 100 * {HOUR_S}")  # noqa: S608
    age_files(data, 100 * HOUR_S)
    assert _command("collect", "--data", str(data), "--grace", "0", *_EVERYTHING)["counts"]
    assert not _command("collect", "--data", str(data), "--grace", "0", *_EVERYTHING)["counts"]


def _compare(data: Path, ledger: Ledger, report: Report) -> None:
    """Check that exactly the promised manifests, links, contents and files are stored."""
    images = [image for promise in ledger.promises() for image in promise.image.all]
    blobs = {blob.digest: len(blob.content) for image in images for blob in image.blobs}
    with _database(data) as database:
        links = database.execute(
            "SELECT '/v2/' || r.name || '/blobs/' || c.digest FROM links l JOIN repositories r ON r.id ="
            " l.repository_id JOIN copies c ON c.id = l.copy_id"
        ).fetchall()
        copies = database.execute("SELECT digest, size FROM copies").fetchall()
        in_files = database.execute("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM copies WHERE key IS NOT NULL")
        files = [path.stat().st_size for path in (data / "blobs").glob("*/*")]
        assert in_files.fetchone() == (len(files), sum(files))
        assert database.execute("SELECT * FROM uploads").fetchall() == []
    assert _manifests(data) == {image.path for image in images}
    assert {path for (path,) in links} == {image.blob_path(blob) for image in images for blob in image.blobs}
    assert dict(copies) == blobs
    report.left_bytes = sum(blobs.values())
    assert _command("check", "--data", str(data), "--content")["findings"] == []


def _manifests(data: Path) -> set[str]:
    with _database(data) as database:
        rows = database.execute(
            "SELECT '/v2/' || r.name || '/manifests/' || m.digest FROM manifests m JOIN repositories r"
            " ON r.id = m.repository_id"
        )
        return {path for (path,) in rows}


def _database(data: Path) -> closing[sqlite3.Connection]:
    """A separate connection to the database of the store."""
    return closing(sqlite3.connect(data / "registry.db", timeout=30, isolation_level=None))


def _command(*arguments: str) -> dict[str, Any]:
    """Run a command while the server runs. Returns its JSON report."""
    done = subprocess.run(
        [*PROGRAM, *arguments, "--json"], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
