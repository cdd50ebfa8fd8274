"""Clients that send or read a byte a second, in numbers, on a folder: what they hold, and when they are cut off.

That nobody waits for them is shown for a registry in memory by tests/hostile/test_connections.py and
tests/integration/test_slow_clients.py.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ociserver.handler.body import IDLE_TIMEOUT_S as BODY_TIMEOUT_S
from ociserver.serve import sockets
from ociserver.serve.granian import IDLE_TIMEOUT_S as HEAD_TIMEOUT_S
from tests.faults.registry import LARGE, REPOSITORY, Registry, digest_of
from tests.faults.test_many_connections import memory_of
from tests.support.http import send
from tests.support.server import Server, serve

FULL = bool(os.environ.get("FULL_TESTS"))
SECONDS = 3
HEADS, BODIES, READERS = 100, 100, 50
BLOB = os.urandom(16 << 20)
HELD_BYTES = 4 << 20
"""For a download that is hardly read: what is on its way from the file to the kernel."""

PATIENCE_S = 30
"""How much later than it might a cut may come: timers of the kernel are coarse."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serve(["--data", str(tmp_path / "data")], tmp_path) as server:
        Registry(server).seed()
        assert Registry(server).push(BLOB).status == 201
        yield server


def connect(server: Server, *, window: int | None = None) -> socket.socket:
    client = socket.socket()
    if window:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    client.settimeout(60)
    client.connect((server.host, server.port))
    return client


def begin_head(client: socket.socket) -> None:
    client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: ")


def begin_body(client: socket.socket, location: str) -> None:
    client.sendall(f"PATCH {location} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n".encode())


def begin_read(client: socket.socket) -> None:
    client.sendall(f"GET /v2/{REPOSITORY}/blobs/{digest_of(BLOB)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


def test_a_byte_a_second(server: Server) -> None:
    registry = Registry(server)
    with ExitStack() as stack:
        heads, bodies = ([stack.enter_context(connect(server)) for _ in range(n)] for n in (HEADS, BODIES))
        readers = [stack.enter_context(connect(server, window=4096)) for _ in range(READERS)]
        before = memory_of([server.pid])
        locations = [registry.start().headers["Location"] for _ in bodies]
        for client in heads:
            begin_head(client)
        for client, location in zip(bodies, locations, strict=True):
            begin_body(client, location)
        for client in readers:
            begin_read(client)
        for second in range(SECONDS):
            for client in (*heads, *bodies):
                client.sendall(b"x")
            for client in readers:
                assert client.recv(1)
            began = time.monotonic()
            registry.assert_reads()
            assert registry.push(LARGE + b"%d" % second).status == 201
            assert time.monotonic() - began < 1
            time.sleep(1)
        held = memory_of([server.pid]) - before
    print(f"{HEADS} heads, {BODIES} bodies and {READERS} downloads, a byte a second: {held / 2**20:.0f} MiB")
    assert held < READERS * HELD_BYTES
    # The bytes of the bodies are kept, and each upload can be continued.
    deadline = time.monotonic() + 10
    while any(send(server, "GET", location).headers["Range"] != f"0-{SECONDS - 1}" for location in locations):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    """The kernel does so. The sockets are those of the server, with a shorter timeout."""
    if not hasattr(socket, "TCP_USER_TIMEOUT"):
        pytest.skip("only Linux has a limit of the time in which a client must take something")
    (listener,) = sockets.listen("127.0.0.1", 0, stalled_timeout_s=1)
    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted, pytest.raises(TimeoutError, match="timed out"):  # noqa: PT012 - how much fits is the kernel's
            began = time.monotonic()
            while True:
                accepted.sendall(bytes(1 << 20))
        assert time.monotonic() - began < PATIENCE_S


if FULL:  # they wait for limits of more than a minute

    @pytest.mark.timeout(300)
    def test_when_they_are_cut_off(server: Server) -> None:
        """A head after 75 s, however it drips; a body after 60 s of silence; a reader after 60 s of taking nothing."""
        registry = Registry(server)
        location = registry.start().headers["Location"]
        with connect(server) as head, connect(server) as body, connect(server, window=4096) as reader:
            began = time.monotonic()
            begin_head(head)
            begin_body(body, location)
            body.sendall(b"x")
            begin_read(reader)
            head.settimeout(1)
            with pytest.raises(ConnectionError):  # noqa: PT012
                while time.monotonic() - began < HEAD_TIMEOUT_S + PATIENCE_S:
                    head.sendall(b"x")
                    try:
                        if not head.recv(1000):
                            raise ConnectionResetError
                    except TimeoutError:
                        continue
            assert HEAD_TIMEOUT_S - 1 < time.monotonic() - began < HEAD_TIMEOUT_S + PATIENCE_S
            print(f"a head was cut off after {time.monotonic() - began:.0f} s")
            assert body.recv(1000).startswith(b"HTTP/1.1 408 ")
            registry.wait_for_log(rf'"PATCH .*" 408 .* {BODY_TIMEOUT_S:.0f}\d\d\d\.\dms')
            registry.wait_for_log(
                rf'"GET .*{digest_of(BLOB)}" 200 .* \d{{5,}}\.\dms', sockets.STALLED_TIMEOUT_S + PATIENCE_S
            )
            print(f"by {time.monotonic() - began:.0f} s a reader was cut off")
