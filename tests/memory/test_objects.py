"""What uploads to a slow bucket cost a node: a fixed amount of memory for each, whatever their size.

Run it with `-s` to see the figures.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from ociserver.store.objects.settings import PART_SIZE, PARTS_IN_FLIGHT
from tests.memory.content import PIECE, digest_of
from tests.support import postgres
from tests.support.bucket import Versity
from tests.support.cluster import Node, over_bucket
from tests.support.toxic import toxic

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux' /proc"),
    pytest.mark.timeout(300),
]

MIB: Final = 1 << 20
SIZE: Final = (300 if os.environ.get("FULL_TESTS") else 150) * MIB
"""Many times what a node may hold."""

BYTES_PER_S: Final = 15 * MIB
"""Of each connection to the bucket: far less than a client sends."""

FOR_EACH: Final = (PARTS_IN_FLIGHT + 1) * PART_SIZE
"""Bytes of the parts of one upload."""

FOR_ALL: Final = 24 * MIB
"""What else the node may take: buffers of connections, and what malloc keeps."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node behind a slow network to its bucket."""
    folder = tmp_path_factory.mktemp("node")
    store = Versity(folder)
    with store.process, toxic(store.port, folder / "network") as network:
        text = over_bucket(postgres.create("memory"), store, port=network.port)
        node = Node(folder / "node", text, store.environment(), ())
        node.start()
        try:
            push(node, 2 * PART_SIZE)
            with network.bandwidth(BYTES_PER_S, direction="upstream"):
                yield node
            node.drain()
        finally:
            node.kill()


@pytest.mark.parametrize("count", [1, 4])
def test_uploads_at_once(node: Node, count: int) -> None:
    threads = [threading.Thread(target=push, args=(node, SIZE // count)) for _ in range(count)]

    def work() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    begun = time.monotonic()
    peak = peak_during(node.process.pid, work)
    print(f"{count} uploads of {SIZE // count // MIB} MiB: {peak / MIB:.1f} MiB in {time.monotonic() - begun:.1f} s")
    # Otherwise the bucket was as fast as the client, and nothing has waited.
    assert peak > count * FOR_EACH / 2
    assert peak < count * FOR_EACH + FOR_ALL


def peak_during(process: int, action: Callable[[], None]) -> int:
    """By how much the resident memory of a process rose at most."""
    folder = Path(f"/proc/{process}")
    before = memory(folder, "VmRSS")
    folder.joinpath("clear_refs").write_text("5")  # the peak begins anew
    action()
    return memory(folder, "VmHWM") - before


def memory(folder: Path, field: str) -> int:
    lines = folder.joinpath("status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def push(node: Node, size: int) -> None:
    """Push a blob in one request."""
    connection = HTTPConnection("127.0.0.1", node.process.port, timeout=200)
    try:
        pieces = (PIECE for _ in range(size // len(PIECE)))
        target = f"/v2/memory/blobs/uploads/?digest={digest_of(size)}"
        connection.request("POST", target, pieces, {"Content-Length": str(size)})
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
    finally:
        connection.close()
