"""What a large layer costs the server: a fixed amount of memory, whatever its size.

Run it with `-s` to see the figures. With FULL_TESTS, the layers are four times as large, and it takes half a minute.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.memory.application import SLOW
from tests.memory.content import PIECE, digest_of, name_of
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site

MIB = 1 << 20
FULL = bool(os.environ.get("FULL_TESTS"))
LAYER = (2048 if FULL else 512) * MIB
SMALLER_LAYER = (192 if FULL else 48) * MIB
"""Still many times what may be held of each."""

SLOW_LAYER = 16 * MIB
"""With 32 concurrent clients, and one side that is slow on purpose."""

CLIENTS = 32

FOR_ONE_CLIENT = 16 * MIB
FOR_EACH_OF_MANY = 4 * MIB

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux' /proc"),
    pytest.mark.timeout(300),
]

Work = Callable[[Site, int], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """A server, and its resident memory after its first requests: what malloc keeps later counts as risen."""

    site: Site
    before: int

    def peak_during(self, action: Callable[[], None]) -> int:
        """By how much its resident memory rose at most."""
        process = Path(f"/proc/{self.site.pid}")
        process.joinpath("clear_refs").write_text("5")  # the peak begins anew
        action()
        return _status(process, "VmHWM") - self.before


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    log = tmp_path_factory.mktemp("granian") / "log"
    with serve_with_granian("tests.memory.application:application", log, "--backpressure", "256") as site:
        # What is allocated once (threads, modules) is not what a layer costs; a layer's own buffers are.
        for request in (push, patch, pull):
            request(site, MIB)
        yield Measured(site, _status(Path(f"/proc/{site.pid}"), "VmRSS"))


def push(site: Site, size: int, repository: str = "a") -> None:
    """One POST with everything."""
    assert _send(site, "POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(size)}", size) == b"201"


def patch(site: Site, size: int) -> None:
    """One PATCH with everything, of unknown length to the backend's interface."""
    assert _send(site, "PATCH", "/v2/a/blobs/uploads/dXBsb2Fk", size) == b"202"


def pull(site: Site, size: int) -> None:
    """One GET."""
    _receive(site, size, pause_s=0)


def push_to_slow(site: Site, size: int) -> None:
    """One POST with everything, to a backend that is slower than the client."""
    push(site, size, SLOW)


def push_slowly(site: Site, size: int) -> None:
    """One POST from a client that takes its time."""
    assert _send(site, "POST", f"/v2/a/blobs/uploads/?digest={digest_of(size)}", size, pause_s=0.02) == b"201"


def pull_slowly(site: Site, size: int) -> None:
    """One GET by a client that takes its time: the server always has more than it takes."""
    _receive(site, size, pause_s=0.02)


@pytest.mark.parametrize("request_of", [push, patch, pull], ids=lambda function: function.__name__)
def test_one_client_with_a_large_layer(server: Measured, request_of: Work) -> None:
    risen = server.peak_during(lambda: request_of(server.site, LAYER))
    print(f"{request_of.__name__} of {LAYER // MIB} MiB: peak memory rose by {risen / MIB:.1f} MiB")
    assert risen < FOR_ONE_CLIENT


@pytest.mark.parametrize(
    "request_of, size",
    [
        (push, SMALLER_LAYER),
        (patch, SMALLER_LAYER),
        (pull, SMALLER_LAYER),
        (push_to_slow, SLOW_LAYER),
        (push_slowly, SLOW_LAYER),
        (pull_slowly, SLOW_LAYER),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_many_clients_at_once(server: Measured, request_of: Work, size: int) -> None:
    def together() -> None:
        failures: list[BaseException] = []

        def one() -> None:
            try:
                request_of(server.site, size)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=one) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    risen = server.peak_during(together)
    print(f"{request_of.__name__} by {CLIENTS} clients: peak memory rose by {risen / MIB / CLIENTS:.2f} MiB for each")
    assert risen < FOR_EACH_OF_MANY * CLIENTS


def _status(process: Path, field: str) -> int:
    for line in process.joinpath("status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def _send(site: Site, method: str, path: str, size: int, pause_s: float = 0) -> bytes:
    with site.connect(120) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(PIECE)):
            client.sendall(PIECE)
            time.sleep(pause_s)
        return client.recv(4096).split(b" ")[1]


def _receive(site: Site, size: int, pause_s: float) -> None:
    with socket.socket() as client:
        client.settimeout(120)
        if pause_s:
            # Else the kernel would take in what the client does not.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, len(PIECE))
        client.connect((site.host, site.port))
        client.sendall(f"GET /v2/a/blobs/{name_of(size)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        buffer = bytearray(len(PIECE) if pause_s else MIB)
        received = 0
        while count := client.recv_into(buffer):
            received += count
            time.sleep(pause_s)
    assert size < received < size + 2000
