"""Uploads that fail: interrupted and resumed, cancelled, or ended with a wrong digest."""

from __future__ import annotations

import json
import socket
import time

from tests.support.http import send, with_query
from tests.support.images import digest_of, random_bytes
from tests.support.server import Server

MIB = 1 << 20


def test_resume_after_a_broken_connection(server: Server) -> None:
    content = random_bytes(8 * MIB, seed=10)
    location = _start(server, "uploads/resumed")
    first = send(server, "PATCH", location, content[:MIB], {"Content-Range": f"0-{MIB - 1}"})
    assert (first.status, first.headers["Range"]) == (202, f"0-{MIB - 1}")

    _break_off(server, first.headers["Location"], content, start=MIB, sent=4 * MIB)
    # The server keeps what arrived, except for what was in a buffer when the connection broke.
    received, location = _received(server, first.headers["Location"], at_least=4 * MIB)
    assert received <= 5 * MIB

    headers = {"Content-Range": f"{received}-{len(content) - 1}"}
    rest = send(server, "PATCH", location, content[received:], headers)
    assert (rest.status, rest.headers["Range"]) == (202, f"0-{len(content) - 1}")
    digest = digest_of(content)
    closed = send(server, "PUT", with_query(rest.headers["Location"], f"digest={digest}"))
    assert (closed.status, closed.headers["Docker-Content-Digest"]) == (201, digest)
    assert send(server, "GET", closed.headers["Location"]).body == content


def test_a_wrong_offset_leaves_the_upload_usable(server: Server) -> None:
    location = _start(server, "uploads/offset")
    first = send(server, "PATCH", location, b"0123456789", {"Content-Range": "0-9"})
    ahead = send(server, "PATCH", first.headers["Location"], b"x", {"Content-Range": "20-20"})
    assert ahead.status == 416
    status = send(server, "GET", first.headers["Location"])
    assert (status.status, status.headers["Range"]) == (204, "0-9")
    digest = digest_of(b"0123456789ab")
    closed = send(
        server, "PUT", with_query(status.headers["Location"], f"digest={digest}"), b"ab", {"Content-Range": "10-11"}
    )
    assert closed.status == 201


def test_cancel(server: Server) -> None:
    location = _start(server, "uploads/cancelled")
    location = send(server, "PATCH", location, b"some bytes").headers["Location"]
    assert send(server, "DELETE", location).status == 204
    gone = send(server, "GET", location)
    assert (gone.status, _code(gone.body)) == (404, "BLOB_UPLOAD_UNKNOWN")
    closed = send(server, "PUT", with_query(location, f"digest={digest_of(b'some bytes')}"))
    assert (closed.status, _code(closed.body)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_wrong_digest(server: Server) -> None:
    content = random_bytes(MIB, seed=11)
    right, wrong = digest_of(content), digest_of(b"something else")
    location = send(server, "PATCH", _start(server, "uploads/wrong"), content).headers["Location"]
    closed = send(server, "PUT", with_query(location, f"digest={wrong}"))
    assert (closed.status, _code(closed.body)) == (400, "DIGEST_INVALID")
    at_once = send(server, "POST", f"/v2/uploads/wrong/blobs/uploads/?digest={wrong}", content)
    assert (at_once.status, _code(at_once.body)) == (400, "DIGEST_INVALID")
    # Neither digest exists.
    for digest in (right, wrong):
        assert send(server, "HEAD", f"/v2/uploads/wrong/blobs/{digest}").status == 404


def _start(server: Server, repository: str) -> str:
    answer = send(server, "POST", f"/v2/{repository}/blobs/uploads/")
    assert answer.status == 202, answer
    location = answer.headers["Location"]
    assert location
    return location


def _break_off(server: Server, location: str, content: bytes, *, start: int, sent: int) -> None:
    """Announce `content` from `start` on in a PATCH, send the first part of it, and disconnect."""
    head = (
        f"PATCH {location.removeprefix(server.url)} HTTP/1.1\r\n"
        f"Host: {server.address}\r\n"
        f"Content-Range: {start}-{len(content) - 1}\r\n"
        f"Content-Length: {len(content) - start}\r\n\r\n"
    )
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(head.encode() + content[start : start + sent])


def _received(server: Server, location: str, *, at_least: int) -> tuple[int, str]:
    """The size and the location of an upload, after the server has seen the end of the connection."""
    deadline = time.monotonic() + 15
    before = -1
    while True:
        status = send(server, "GET", location)
        assert status.status == 204, status
        received = int(status.headers["Range"].partition("-")[2]) + 1
        # If two answers are equal, no more bytes are in a buffer.
        if received >= at_least and received == before:
            return received, status.headers["Location"]
        assert time.monotonic() < deadline, f"{received} bytes are kept of what was sent, wanted {at_least}"
        before = received
        time.sleep(0.2)


def _code(body: bytes) -> str:
    code: str = json.loads(body)["errors"][0]["code"]
    return code
