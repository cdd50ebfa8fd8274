"""/healthz and /readyz of a running server, and of the wrapper alone for states that the server cannot show."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ociserver.serve.health import Readiness, with_health
from ociserver.types import Message, Receive, Scope, Send
from tests.cli.process import Serve, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with serving(tmp_path_factory.mktemp("health")) as server:
        yield server


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose"])
def test_both_answer_200(server: Serve, path: str) -> None:
    assert server.get(path) == (200, b"ok\n")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_head(server: Serve, path: str) -> None:
    connection = server.http()
    connection.request("HEAD", path)
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    assert response.headers["Content-Length"] == "3"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    connection.request("GET", path)
    assert connection.getresponse().status == 200, "the connection goes on"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods(server: Serve, method: str) -> None:
    connection = server.http()
    connection.request(method, "/healthz")
    response = connection.getresponse()
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz/", "/healthz2", "//healthz", "/v2/healthz", "/health", "/"])
def test_other_paths_reach_the_registry(server: Serve, path: str) -> None:
    status, body = server.get(path)
    assert status == 404
    assert body.startswith(b'{"errors":')


def ask(app: Any, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Call an application without a server."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(app({"type": "http", "method": method, "path": path}, receive, send))
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_not_ready_says_why() -> None:
    readiness = Readiness("the store is being opened")
    app = with_health(elsewhere, readiness)
    assert ask(app, "/readyz") == (503, b"the store is being opened\n")
    assert ask(app, "/readyz", "HEAD") == (503, b"")
    assert ask(app, "/healthz") == (200, b"ok\n"), "it is well all the same"
    assert ask(app, "/v2/") == (299, b"/v2/"), "the registry answers although it is not ready"
    readiness.reason = None
    assert ask(app, "/readyz") == (200, b"ok\n")


def test_the_wrapper_adds_no_coroutine() -> None:
    """For a request to the registry, the wrapper returns the coroutine of the handler."""

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        pass

    app = with_health(elsewhere, Readiness(None))
    coroutine: Any = app({"type": "http", "method": "GET", "path": "/v2/"}, receive, send)
    assert coroutine.cr_code is elsewhere.__code__
    coroutine.close()
