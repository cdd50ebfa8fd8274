"""Clients that send and read as slowly as they like: what counts is progress, and nobody else waits."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.integration import applications
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site
from tests.serving.uvicorn_thread import serve_with_uvicorn

LARGE = bytes(range(256)) * 4096 * 16


@pytest.fixture(scope="module", params=["granian", "uvicorn"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if request.param == "granian":
        log: Path = tmp_path_factory.mktemp("granian") / "log"
        with serve_with_granian("tests.integration.applications:plain_app", log) as site:
            yield site
    else:
        with serve_with_uvicorn(applications.plain(), lifespan="on") as site:
            yield site


def ask(site: Site, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = HTTPConnection(site.host, site.port, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.mark.parametrize("chunked", [True, False])
def test_an_upload_in_single_bytes(site: Site, *, chunked: bool) -> None:
    content = f"slowly, chunked={chunked}".encode()
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
    head = f"POST /v2/foo/blobs/uploads/?digest={digest_of(content)} HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n"
    with site.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(head.encode())
        for number in range(len(content)):
            byte = content[number : number + 1]
            client.sendall(b"1\r\n%s\r\n" % byte if chunked else byte)
            time.sleep(0.01)
            if number % 10 == 0:
                assert ask(site, "GET", "/v2/")[0] == 200
        if chunked:
            client.sendall(b"0\r\n\r\n")
        response = HTTPResponse(client)
        response.begin()
        assert response.status == 201
        response.close()
    assert ask(site, "GET", f"/v2/foo/blobs/{digest_of(content)}") == (200, content)


def test_a_download_that_is_hardly_read(site: Site) -> None:
    digest = digest_of(LARGE)
    assert ask(site, "POST", f"/v2/foo/blobs/uploads/?digest={digest}", LARGE)[0] == 201
    with socket.socket() as client:
        # A small window: the server has to hold the rest back.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        client.settimeout(60)
        client.connect((site.host, site.port))
        client.sendall(f"GET /v2/foo/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        with HTTPResponse(client) as response:
            response.begin()
            hasher = hashlib.sha256()
            for _ in range(10):
                hasher.update(response.read(10_000))
                time.sleep(0.02)
                assert ask(site, "HEAD", f"/v2/foo/blobs/{digest}")[0] == 200
            while data := response.read(1 << 20):
                hasher.update(data)
    assert f"sha256:{hasher.hexdigest()}" == digest


def test_a_client_that_leaves_in_the_middle_of_a_download(site: Site) -> None:
    digest = digest_of(LARGE)
    ask(site, "POST", f"/v2/foo/blobs/uploads/?digest={digest}", LARGE)
    for _ in range(5):
        with site.connect() as client:
            client.sendall(f"GET /v2/foo/blobs/{digest} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert ask(site, "GET", f"/v2/foo/blobs/{digest}") == (200, LARGE)
