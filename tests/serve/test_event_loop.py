"""The event loop of the server under granian: which requests never reach it, and what happens to the others."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ociserver import Handler, Memory
from ociserver.handler.callbacks import ThreadSafeCallback
from ociserver.serve.event_loop import AnswerNowait, Loop
from ociserver.serve.granian import GranianServer
from ociserver.serve.run import Limits, run
from ociserver.types import Receive, Scope, Send
from tests.contract.contents import REPOSITORY, push_manifest

ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, f"loop {(await receive())['type']}")


def answer(send: Send, text: str) -> Any:
    send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    return send({"type": "http.response.body", "body": text.encode()})


def replies(
    at_once: AnswerNowait | None, paths: list[str], application: ASGI = application, body: bytes | None = None
) -> list[str]:
    """The answers of granian to GET requests for these paths on one connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    loop = Loop()
    loop.answer_nowait = at_once

    async def run() -> list[str]:
        server = GranianServer(application, listener, max_connections=8)
        serving = asyncio.create_task(server.serve())
        try:
            # This returns through a future of another thread, which calls the same method, also with two arguments.
            return await asyncio.to_thread(ask, address, paths, body)
        finally:
            server.stop()
            await serving

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(run())


def ask(address: tuple[str, int], paths: list[str], body: bytes | None = None) -> list[str]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    texts = []
    for path in paths:
        connection.request("GET", path, body)
        texts.append(connection.getresponse().read().decode())
    connection.close()
    return texts


def test_a_nowait_answer_never_reaches_the_loop() -> None:
    threads = set()

    def at_once(scope: Scope, send: Send) -> bool:
        threads.add(threading.current_thread())
        if scope["path"] != "/known":
            return False
        answer(send, "at once")
        return True

    assert replies(at_once, ["/known", "/other", "/known"]) == ["at once", "loop http.request", "at once"]
    assert threading.main_thread() not in threads


def test_without_answer_nowait_all_requests_reach_the_loop() -> None:
    assert replies(None, ["/known"]) == ["loop http.request"]


def test_a_thread_safe_callback_is_called_in_the_thread_that_ends_the_future() -> None:
    threads, ended = list[threading.Thread](), asyncio.Event()

    class Noting(ThreadSafeCallback):
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.loop = loop

        def __call__(self, future: Any, /) -> None:
            threads.append(threading.current_thread())
            assert future.result()["body"] == b"content"
            self.loop.call_soon_threadsafe(ended.set)

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        future: Any = receive()
        future.add_done_callback(Noting(asyncio.get_running_loop()))
        await ended.wait()
        await answer(send, "ended")

    assert replies(None, ["/"], application, b"content") == ["ended"]
    assert threads
    assert threading.main_thread() not in threads


def test_the_server_answers_reads_without_the_loop() -> None:
    at_once = []

    class Noting(Handler):
        def answer_nowait(self, scope: Scope, send: Send) -> bool:
            at_once.append(super().answer_nowait(scope, send))
            return at_once[-1]

    memory = Memory()
    asyncio.run(push_manifest(memory, b"content", "text/plain", "v1"))
    listener = socket.create_server(("127.0.0.1", 0))
    address, texts = listener.getsockname(), list[str]()

    def read_and_stop() -> None:
        try:
            texts.extend(ask(address, [f"/v2/{REPOSITORY}/manifests/v1", "/v2/"]))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    reading = threading.Thread(target=read_and_stop)
    outcome = run(Noting(memory), [listener], Limits(8, 1.0), None, reading.start)
    reading.join()
    assert (outcome.status, texts[0]) == (0, "content")
    assert at_once[-2:] == [True, False]


def test_a_request_whose_nowait_answer_fails_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    def at_once(_scope: Scope, _send: Send) -> bool:
        raise OSError("unforeseen")

    with caplog.at_level(logging.ERROR):
        assert replies(at_once, ["/any"]) == ["loop http.request"]
    assert "unforeseen" in caplog.text
