"""Referrers with megabytes of annotations: lists of them cost a page each, and hold nobody up.

With FULL_TESTS they are 250 of 3.9 MB each, a gigabyte.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.faults.registry import REPOSITORY, Registry, digest_of
from tests.support.server import Server, serve

FULL = bool(os.environ.get("FULL_TESTS"))
COUNT, SIZE = (250, 3_900_000) if FULL else (30, 1_000_000)
AT_ONCE = 8
MIB = 1 << 20
INDEX = "application/vnd.oci.image.index.v1+json"
SUBJECT = digest_of(b"a subject")

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def content_of(number: int) -> bytes:
    subject = {"mediaType": INDEX, "digest": SUBJECT, "size": 9}
    annotations = {"number": str(number), "text": "x" * SIZE}
    return json.dumps({"schemaVersion": 2, "manifests": [], "subject": subject, "annotations": annotations}).encode()


@pytest.fixture(scope="module", params=["store", "memory"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with all of them."""
    folder: Path = tmp_path_factory.mktemp("referrers")
    where = ["--memory"] if request.param == "memory" else ["--data", str(folder / "data"), "--durability", "off"]
    with serve([*where, "--no-access-log"], folder) as server:
        for number in range(COUNT):
            content = content_of(number)
            pushed = Registry(server).ask("PUT", f"manifests/{digest_of(content)}", content, {"Content-Type": INDEX})
            assert pushed.status == 201
        yield server


def get_page(server: Server, pages: list[int], *, wait_s: float = 0) -> None:
    """The first page; a client that waits takes it slowly."""
    connection = HTTPConnection(server.host, server.port, timeout=60)
    connection.request("GET", f"/v2/{REPOSITORY}/referrers/{SUBJECT}")
    answer = connection.getresponse()
    size = 0
    while data := answer.read(1 << 17):
        size += len(data)
        time.sleep(wait_s)
    connection.close()
    assert answer.status == 200
    assert 'rel="next"' in answer.headers["Link"]
    pages.append(size)


def peak_of(server: Server) -> int:
    """Most bytes that it has had in memory since this was reset."""
    line = next(line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if "VmHWM" in line)
    return int(line.split()[1]) * 1024


@pytest.mark.timeout(120)
@pytest.mark.parametrize("wait_s", [0, 0.02], ids=["quick", "slow"])
def test_many_lists_at_once(server: Server, wait_s: float) -> None:
    registry = Registry(server)
    get_page(server, [])
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")
    before = peak_of(server)
    pages: list[int] = []
    readers = [
        threading.Thread(target=get_page, args=(server, pages), kwargs={"wait_s": wait_s}) for _ in range(AT_ONCE)
    ]
    for reader in readers:
        reader.start()
    took = []
    while any(reader.is_alive() for reader in readers):
        began = time.monotonic()
        assert registry.push(os.urandom(1000)).status == 201
        took.append(time.monotonic() - began)
    grown = peak_of(server) - before
    print(f"{AT_ONCE} lists at once: {grown / MIB:.0f} MiB more, pushes beside took {max(took) * 1000:.0f} ms at most")
    assert len(pages) == AT_ONCE
    # As many entries as fit.
    assert all(4 * MIB - SIZE - 1000 < size <= 4 * MIB for size in pages)
    assert grown < 64 * MIB
    # Beside whatever else the machine is doing.
    assert max(took) < 2
