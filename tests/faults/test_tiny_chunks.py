"""Bodies in chunks of a byte, to a real server: each is given up, others are served, and nothing goes on afterwards."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ociserver.handler.body import MAX_TINY_EVENTS
from tests.faults.registry import REPOSITORY, Registry
from tests.support.http import send
from tests.support.server import Server, serve

FULL = bool(os.environ.get("FULL_TESTS"))
SENDERS = 8 if FULL else 3
SECONDS = 20 if FULL else 1
BLOCK = b"1\r\nx\r\n" * 50_000
"""More than a server reads at once."""

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tiny-chunks")
    with serve(["--data", str(folder / "data")], folder) as server:
        yield server


def send_tiny_chunks(server: Server, method: str, target: str, *, seconds: float) -> bytes:
    """Send for so long, or until the server closes the connection; all that it has answered."""
    head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer = b""
    with socket.create_connection((server.host, server.port), timeout=seconds) as client:
        deadline = time.monotonic() + seconds
        with suppress(ConnectionError, TimeoutError):
            client.sendall(head)
            while time.monotonic() < deadline:
                client.sendall(BLOCK)
        # What came before the connection was closed is still there to be read.
        with suppress(ConnectionError, TimeoutError):
            while data := client.recv(4096):
                answer += data
    assert time.monotonic() < deadline, "the connection was not closed"
    return answer


def processor_time(server: Server) -> float:
    """Seconds that the server has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


TARGETS = {
    "upload": ("PATCH", None),
    "manifest": ("PUT", f"/v2/{REPOSITORY}/manifests/tiny"),
    "blob": ("POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest=sha256:{64 * '0'}"),
    # Refused before its body is looked at: nobody needs leave to push for this.
    "refused": ("POST", "/v2/NO/blobs/uploads/"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_given_up_and_keeps_what_came(server: Server, target: str) -> None:
    method, path = TARGETS[target]
    location = Registry(server).start().headers["Location"]
    answer = send_tiny_chunks(server, method, path or location, seconds=20)
    head = answer.lower().partition(b"\r\n\r\n")[0]
    assert head.startswith(b"http/1.1 400 ")
    if target == "refused":
        assert b"NAME_INVALID" in answer
        return
    # The answer to a request that was refused at once has been sent before.
    assert b"connection: close" in head
    assert b"chunks of less than 64 bytes" in answer
    # As of any request that is broken off.
    kept = MAX_TINY_EVENTS + 1 if target == "upload" else 0
    assert send(server, "GET", location).headers["Upload-Offset"] == str(kept)


@pytest.mark.timeout(120)
def test_others_are_served_meanwhile_and_nothing_goes_on_afterwards(server: Server) -> None:
    registry = Registry(server)
    deadline = time.monotonic() + SECONDS
    closed = [0] * SENDERS

    def attack(number: int) -> None:
        # Again each time that it is given up, half of them without leave to push anything.
        while time.monotonic() < deadline:
            method, path = TARGETS["refused" if number % 2 else "upload"]
            send_tiny_chunks(server, method, path or registry.start().headers["Location"], seconds=60)
            closed[number] += 1

    threads = [threading.Thread(target=attack, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    took = []
    while time.monotonic() < deadline:
        began = time.monotonic()
        assert registry.push(os.urandom(100_000)).status == 201
        took.append(time.monotonic() - began)
    for thread in threads:
        thread.join()
    took.sort()
    print(f"{len(took)} pushes beside {SENDERS} senders, p99 {took[int(len(took) * 0.99)] * 1000:.0f} ms")
    assert took[len(took) // 2] < 1
    assert all(closed)
    # Nothing is left of what was sent.
    before = processor_time(server)
    time.sleep(0.5)
    assert processor_time(server) - before < 0.25
