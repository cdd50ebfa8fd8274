"""Clients that go on sending after an error, wait to be asked, or vanish: on every server that we name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.integration import applications
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site
from tests.serving.uvicorn_thread import serve_with_uvicorn

BODY = bytes(64 * 1024 * 1024)
UNKNOWN_UPLOAD = "/v2/foo/blobs/uploads/bm8tc3VjaC11cGxvYWQ"


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if request.param == "granian":
        log: Path = tmp_path_factory.mktemp("granian") / "log"
        with serve_with_granian("tests.integration.applications:plain_app", log) as site:
            yield site
    else:
        with serve_with_uvicorn(applications.plain(), lifespan="on") as site:
            yield site


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_client_that_sends_everything_before_it_looks_gets_the_error(site: Site, *, chunked: bool) -> None:
    """http.client writes the whole body, and only then reads: a reset would lose the answer."""
    connection = HTTPConnection(site.host, site.port, timeout=60)
    pieces = (BODY[at : at + 65536] for at in range(0, len(BODY), 65536))
    connection.request("PATCH", UNKNOWN_UPLOAD, pieces if chunked else BODY, encode_chunked=chunked)
    response = connection.getresponse()
    assert response.status == 404
    assert json.loads(response.read())["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
    # What was sent has been read: the connection can be used again.
    connection.request("GET", "/v2/")
    assert connection.getresponse().status == 200
    connection.close()


def test_a_client_that_looks_while_it_sends_is_answered_at_once(site: Site) -> None:
    with site.connect() as client:
        client.sendall(_head("PATCH", UNKNOWN_UPLOAD, f"Content-Length: {len(BODY)}") + BODY[:1000])
        assert client.recv(65536).startswith(b"HTTP/1.1 404 ")


def test_a_client_that_waits_to_be_asked_is_asked_or_refused(site: Site) -> None:
    with site.connect() as client:
        client.sendall(_head("PATCH", UNKNOWN_UPLOAD, "Content-Length: 5", "Expect: 100-continue"))
        assert client.recv(65536).startswith(b"HTTP/1.1 404 ")
    location = _start(site)
    with site.connect() as client:
        client.sendall(_head("PATCH", location, "Content-Length: 5", "Expect: 100-continue"))
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert re.search(rb"(?im)^range: 0-4\r$", answer)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_what_an_interrupted_patch_brought_is_kept(site: Site, end: str) -> None:
    location = _start(site)
    content = BODY[: 1 << 20]
    client = site.connect()
    client.sendall(_head("PATCH", location, "Content-Length: 5000000") + content)
    _wait_until_taken(site, location, client, end)
    received = _size(site, location)
    assert 0 < received <= len(content)

    rest = content[received:] + b"end"
    with contextlib.closing(HTTPConnection(site.host, site.port, timeout=60)) as connection:
        _finish(connection, location, received, rest, content + b"end")


def _finish(connection: HTTPConnection, location: str, received: int, rest: bytes, content: bytes) -> None:
    connection.request("PATCH", location, rest, {"Content-Range": f"{received}-{received + len(rest) - 1}"})
    response = connection.getresponse()
    response.read()
    assert response.status == 202
    digest = hashlib.sha256(content).hexdigest()
    connection.request("PUT", f"{location}?digest=sha256:{digest}", b"")
    response = connection.getresponse()
    response.read()
    assert response.status == 201


def _wait_until_taken(site: Site, location: str, client: socket.socket, end: str) -> None:
    """Vanish in mid-body, and wait until the server has stored what came before that."""
    time.sleep(0.2)
    if end == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    deadline = time.monotonic() + 30
    before, now = -1, _size(site, location)
    while (now == 0 or now != before) and time.monotonic() < deadline:
        time.sleep(0.5)
        before, now = now, _size(site, location)


def _start(site: Site) -> str:
    connection = HTTPConnection(site.host, site.port, timeout=60)
    connection.request("POST", "/v2/foo/blobs/uploads/")
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status == 202
    location = response.getheader("Location")
    assert location
    return location


def _size(site: Site, location: str) -> int:
    connection = HTTPConnection(site.host, site.port, timeout=60)
    connection.request("GET", location)
    response = connection.getresponse()
    response.read()
    connection.close()
    assert response.status == 204
    last = int((response.getheader("Range") or "").removeprefix("0-"))
    return last + 1 if last else 0


def _head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()
