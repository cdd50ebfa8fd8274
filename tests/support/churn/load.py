"""The load test: a server, its clients, collections beside it, and a check of what is left at the end."""

from __future__ import annotations

import json
import pickle
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.churn.client import Client
from tests.support.churn.image import Image
from tests.support.churn.ledger import Ledger, Promise
from tests.support.churn.place import InFolder, Place
from tests.support.churn.tally import Tally
from tests.support.http import send
from tests.support.server import PROGRAM, Server

CLIENTS: Final = 16
PATIENCE_S: Final = 3
"""How long collection keeps a blob that no manifest references: longer than a push takes here."""

PROMISED_S: Final = 0.9 * PATIENCE_S
"""How long a blob is safe after a HEAD. The server does not record each HEAD."""

HOUR_S: Final = 3600
COMMAND_TIMEOUT_S: Final = 100.0
MOST_COLLECTIONS: Final = 3

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


def run(folder: Path, seconds: float, place: Place | None = None) -> Report:
    """Run the load on a store, which may be that of an earlier run. Raises at the first failure.

    Args:
        folder: has what an earlier run has promised.
        seconds: how long the clients work.
        place: where the store is. By default in the folder.

    Returns:
        The report of all runs on this folder together.
    """
    place, ledger = place or InFolder(folder), Ledger()
    report = _take_up(folder, ledger)
    patience = ("--unreferenced-after", f"{PATIENCE_S}s", "--delete-untagged-after", f"{PATIENCE_S}s")
    with place.serve("--collect-every", "0", "--no-access-log", *patience) as server:
        _work(server, place, ledger, report, seconds)
        _tidy(server, place, ledger)
        _compare(place, ledger, report)
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


def _work(server: Server, place: Place, ledger: Ledger, report: Report, seconds: float) -> None:
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
            _collect_once(place, report)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for client in clients:
        report.tally.add(client.tally)
        if client.failure is not None:
            raise client.failure


def _collect_once(place: Place, report: Report) -> None:
    patience = f"{PATIENCE_S}s"
    options = ("--unreferenced-after", patience, "--upload-timeout", patience, "--delete-untagged-after", patience)
    done = _command("collect", *place.arguments, "--grace", "0s", *options)
    report.collections += 1
    report.freed.update(done["counts"])
    report.freed_bytes += done["freed_bytes"]


def _tidy(server: Server, place: Place, ledger: Ledger) -> None:
    """Delete what is not promised, and collect without grace periods until nothing more is freed."""
    kept = {image.path for promise in ledger.promises() for image in promise.image.all}
    there = _manifests(place)
    assert kept <= there, f"lost: {kept - there}"
    for path in there - kept:
        assert send(server, "DELETE", path).status == 202, path
    # Objects of a bucket are deleted by another collection than that which finds that nothing needs them.
    for _ in range(MOST_COLLECTIONS):
        place.age(100 * HOUR_S)
        if not _command("collect", *place.arguments, "--grace", "0", *_EVERYTHING)["counts"]:
            return
    raise AssertionError(f"something is left after {MOST_COLLECTIONS} collections")


def _compare(place: Place, ledger: Ledger, report: Report) -> None:
    """Check that exactly the promised manifests, links, contents and files are stored."""
    images = [image for promise in ledger.promises() for image in promise.image.all]
    blobs = {blob.digest: len(blob.content) for image in images for blob in image.blobs}
    links = place.run(
        "SELECT '/v2/' || r.name || '/blobs/' || c.digest FROM links l JOIN repositories r ON r.id ="
        " l.repository_id JOIN copies c ON c.id = l.copy_id"
    )
    assert [size for (size,) in place.run("SELECT size FROM copies WHERE key IS NOT NULL ORDER BY size")] == (
        place.stored()
    )
    assert place.run("SELECT id FROM uploads") == []
    assert _manifests(place) == {image.path for image in images}
    assert {path for (path,) in links} == {image.blob_path(blob) for image in images for blob in image.blobs}
    assert dict(place.run("SELECT digest, size FROM copies")) == blobs
    report.left_bytes = sum(blobs.values())
    assert _command("check", *place.arguments, "--content")["findings"] == []


def _manifests(place: Place) -> set[str]:
    rows = place.run(
        "SELECT '/v2/' || r.name || '/manifests/' || m.digest FROM manifests m JOIN repositories r"
        " ON r.id = m.repository_id"
    )
    return {path for (path,) in rows}


def _command(*arguments: str) -> dict[str, Any]:
    """Run a command while the server runs. Returns its JSON report."""
    done = subprocess.run(
        [*PROGRAM, *arguments, "--json"], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
