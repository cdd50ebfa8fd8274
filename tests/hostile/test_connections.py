"""Unusual connections: pipelined, slow, idle, abandoned."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.hostile.application import BLOB, BLOB_DIGEST
from tests.hostile.attempt import below, raw
from tests.hostile.client import exchange
from tests.hostile.server import HEADER_TIMEOUT_MS, hostile_site
from tests.serving.site import Site

KEPT = "GET {} HTTP/1.1\r\nHost: registry.example\r\n\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with hostile_site(tmp_path_factory.mktemp("connections") / "granian.log") as site:
        yield site


def read_until_closed(connection: socket.socket) -> bytes:
    received = bytearray()
    while data := connection.recv(1 << 16):
        received += data
    return bytes(received)


def statuses_of(received: bytes) -> list[int]:
    """The status of every answer. A status line may directly follow a body, so this does not split lines."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    targets = ["/v2/", below(f"blobs/{BLOB_DIGEST}"), below("blobs/sha256:x"), "/elsewhere"] * 10
    with site.connect() as connection:
        connection.sendall("".join(KEPT.format(target) for target in targets).encode() + raw("GET", "/v2/"))
        received = read_until_closed(connection)
    assert statuses_of(received) == [200, 200, 400, 404] * 10 + [200]


def test_a_refused_body_does_not_become_a_request(site: Site) -> None:
    """The connection stays usable, and the body of the first request is not parsed as a request."""
    smuggled = KEPT.format("/v2/smuggled/tags/list").encode()
    with site.connect() as connection:
        head = f"POST /v2/-/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: {len(smuggled)}\r\n\r\n"
        connection.sendall(head.encode() + smuggled + raw("GET", "/v2/"))
        received = read_until_closed(connection)
    assert statuses_of(received) == [400, 200]
    assert b"NAME_UNKNOWN" not in received


def test_http_1_0(site: Site) -> None:
    with site.connect() as connection:
        connection.sendall(f"GET {below(f'blobs/{BLOB_DIGEST}')} HTTP/1.0\r\n\r\n".encode())
        received = read_until_closed(connection)
    assert received.startswith(b"HTTP/1.0 200")
    assert received.endswith(BLOB)


def test_http_1_0_with_chunks(site: Site) -> None:
    """RFC 9112, 6.1: the framing of such a message is faulty."""
    with site.connect() as connection:
        connection.sendall(b"PUT /v2/-/manifests/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        received = read_until_closed(connection)
    assert not received or received.split()[1].startswith(b"4")


def test_requests_that_never_end_time_out(site: Site) -> None:
    beginnings = [b"\r\n" * 50, b"G", b"GET /v2/ HT", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ", b""]
    with ExitStack() as stack:
        connections = [stack.enter_context(site.connect()) for _ in beginnings]
        for connection, beginning in zip(connections, beginnings, strict=True):
            connection.sendall(beginning)
        for connection in connections:
            # The timeout of the server ends it. How soon depends on the machine.
            received = read_until_closed(connection)
            assert not received or received.split()[1].startswith(b"4")


def test_slow_headers_delay_no_other_client(site: Site) -> None:
    """While a hundred connections send single bytes, the server answers other requests."""
    with ExitStack() as stack:
        slow = [stack.enter_context(site.connect()) for _ in range(100)]
        for connection in slow:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        for _ in range(5):
            for connection in slow:
                connection.sendall(b"x")
            assert exchange(site, [raw("GET", below(f"blobs/{BLOB_DIGEST}"))]).status == 200
        time.sleep(HEADER_TIMEOUT_MS / 1000)
        for connection in slow:
            answer = read_until_closed(connection)
            assert not answer or answer.split()[1].startswith(b"4")


def test_abandoned_uploads_delay_no_other_client(site: Site) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(site.connect())
            connection.sendall(
                raw("POST", below(f"blobs/uploads/?digest={BLOB_DIGEST}"), ["Content-Length: 1000"]) + b"x"
            )
        assert exchange(site, [raw("GET", below(f"blobs/{BLOB_DIGEST}"))]).status == 200
    assert exchange(site, [raw("GET", "/v2/")]).status == 200


def test_a_client_that_reads_nothing_delays_no_other_client(site: Site) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(site.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(KEPT.format(below(f"blobs/{BLOB_DIGEST}")).encode() * 200)
        assert exchange(site, [raw("GET", "/v2/")]).status == 200


def test_connections_that_only_open_and_close(site: Site) -> None:
    for _ in range(300):
        site.connect().close()
    assert exchange(site, [raw("GET", "/v2/")]).status == 200
