"""What a large layer costs the server: a fixed amount of memory, whatever its size (design: invariant 9)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.memory.content import PIECE, digest_of, name_of
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site

MIB = 1 << 20
LAYER = 2048 * MIB
SMALLER_LAYER = 192 * MIB
CLIENTS = 32

FOR_ONE_CLIENT = 16 * MIB
FOR_EACH_OF_MANY = 4 * MIB

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux' /proc"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    log = tmp_path_factory.mktemp("granian") / "log"
    with serve_with_granian("tests.memory.application:application", log, "--backpressure", "256") as site:
        # What is allocated once (threads, buffers of the runtime) is not what a layer costs.
        for request in (push, patch, pull):
            request(site, 64 * MIB)
        yield site


def push(site: Site, size: int) -> None:
    """One POST with everything."""
    assert _send(site, "POST", f"/v2/a/blobs/uploads/?digest={digest_of(size)}", size) == b"201"


def patch(site: Site, size: int) -> None:
    """One PATCH with everything, of unknown length to the backend's interface."""
    assert _send(site, "PATCH", "/v2/a/blobs/uploads/dXBsb2Fk", size) == b"202"


def pull(site: Site, size: int) -> None:
    """One GET."""
    with site.connect(120) as client:
        client.sendall(f"GET /v2/a/blobs/{name_of(size)} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        buffer = bytearray(MIB)
        received = 0
        while count := client.recv_into(buffer):
            received += count
    assert size < received < size + 2000


@pytest.mark.parametrize("request_of", [push, patch, pull], ids=lambda function: function.__name__)
def test_one_client_with_a_layer_of_2_gib(site: Site, request_of: Callable[[Site, int], None]) -> None:
    risen = _peak_during(site, lambda: request_of(site, LAYER))
    print(f"{request_of.__name__} of 2 GiB: peak memory rose by {risen / MIB:.1f} MiB")
    assert risen < FOR_ONE_CLIENT


@pytest.mark.parametrize("request_of", [push, patch, pull], ids=lambda function: function.__name__)
def test_many_clients_at_once(site: Site, request_of: Callable[[Site, int], None]) -> None:
    def together() -> None:
        failures: list[BaseException] = []

        def one() -> None:
            try:
                request_of(site, SMALLER_LAYER)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=one) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    risen = _peak_during(site, together)
    print(f"{request_of.__name__} by {CLIENTS} clients: peak memory rose by {risen / MIB / CLIENTS:.2f} MiB for each")
    assert risen < FOR_EACH_OF_MANY * CLIENTS


def _peak_during(site: Site, action: Callable[[], None]) -> int:
    """By how much the server's resident memory rose at most."""
    process = Path(f"/proc/{site.pid}")
    process.joinpath("clear_refs").write_text("5")  # the peak begins anew
    before = _status(process, "VmRSS")
    action()
    return _status(process, "VmHWM") - before


def _status(process: Path, field: str) -> int:
    for line in process.joinpath("status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def _send(site: Site, method: str, path: str, size: int) -> bytes:
    with site.connect(120) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(PIECE)):
            client.sendall(PIECE)
        return client.recv(4096).split(b" ")[1]
