"""A backend is opened once: by the lifespan, or by the first request where there is none."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

import pytest

from ociserver import Backend, Descriptor, Handler, compose
from ociserver.types import Message
from tests.contract.contents import BINARY
from tests.handler.driver import request
from tests.handler.registry import BLOB

pytestmark = pytest.mark.anyio


class Counted(Backend):
    """Counts how often it is opened and closed. The first `failures` times, it fails."""

    def __init__(self, *, failures: int = 0) -> None:
        self.opened = 0
        self.closed = 0
        self._failures = failures

    async def __aenter__(self) -> Self:
        await asyncio.sleep(0.01)
        if self._failures:
            self._failures -= 1
            raise OSError("the disk is not there yet")
        self.opened += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.closed += 1

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        assert self.opened > self.closed, "used while it is not open"
        return Descriptor(BINARY, digest, 0)


class Lifespan:
    """A server's side of the lifespan protocol."""

    def __init__(self, application: Handler) -> None:
        self.sent: list[Message] = []
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self.task = asyncio.ensure_future(application({"type": "lifespan"}, self._inbox.get, self._outbox.put))

    async def tell(self, kind: str) -> Message:
        await self._inbox.put({"type": kind})
        return await self._outbox.get()


async def test_the_lifespan_opens_and_closes() -> None:
    backend = Counted()
    application = Handler(backend)
    lifespan = Lifespan(application)
    assert await lifespan.tell("lifespan.startup") == {"type": "lifespan.startup.complete"}
    assert (backend.opened, backend.closed) == (1, 0)
    assert (await request(application, "HEAD", BLOB)).status == 200
    assert await lifespan.tell("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
    await lifespan.task
    assert (backend.opened, backend.closed) == (1, 1)


async def test_a_backend_that_does_not_open_fails_the_startup(caplog: pytest.LogCaptureFixture) -> None:
    lifespan = Lifespan(Handler(Counted(failures=1)))
    message = await lifespan.tell("lifespan.startup")
    await lifespan.task
    assert message["type"] == "lifespan.startup.failed"
    assert "the disk is not there yet" in message["message"]
    assert "the backend could not be opened" in caplog.text


async def test_a_backend_that_does_not_close_fails_the_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Counted):
        async def __aexit__(self, *_: object) -> None:
            raise OSError("not now")

    lifespan = Lifespan(Handler(Stuck()))
    await lifespan.tell("lifespan.startup")
    assert (await lifespan.tell("lifespan.shutdown"))["type"] == "lifespan.shutdown.failed"
    await lifespan.task
    assert "the backend could not be closed" in caplog.text


async def test_the_first_request_opens_where_there_is_no_lifespan() -> None:
    backend = Counted()
    application = Handler(backend)
    for _ in range(3):
        assert (await request(application, "HEAD", BLOB)).status == 200
    assert backend.opened == 1
    await application.aclose()
    await application.aclose()
    assert backend.closed == 1


async def test_many_first_requests_open_once() -> None:
    backend = Counted()
    application = Handler(backend)
    replies = await asyncio.gather(*(request(application, "HEAD", BLOB) for _ in range(20)))
    assert {reply.status for reply in replies} == {200}
    assert backend.opened == 1


async def test_a_backend_that_opens_late() -> None:
    """A request fails while the backend cannot be opened, and the next one tries again."""
    application = Handler(Counted(failures=2))
    statuses = [(await request(application, "HEAD", BLOB)).status for _ in range(3)]
    assert statuses == [500, 500, 200]


async def test_the_handler_is_a_context_manager() -> None:
    backend = Counted()
    async with Handler(backend) as application:
        assert backend.opened == 1
        assert (await request(application, "HEAD", BLOB)).status == 200
    assert backend.closed == 1


async def test_what_cannot_be_parsed_does_not_need_the_backend() -> None:
    backend = Counted()
    assert (await request(Handler(backend), "GET", "/elsewhere")).status == 404
    assert backend.opened == 0


@pytest.mark.parametrize(
    "wrap", [compose.ReadOnly, compose.Immutable, lambda inner: compose.Select(inner, lambda name: True)]
)
async def test_a_wrapper_opens_what_it_wraps(wrap: Any) -> None:
    backend = Counted()
    async with Handler(wrap(wrap(backend))) as application:
        assert (await request(application, "HEAD", BLOB)).status == 200
    assert (backend.opened, backend.closed) == (1, 1)


async def test_an_object_that_is_no_backend_is_opened_too() -> None:
    class Plain:
        entered = 0

        async def __aenter__(self) -> None:
            self.entered += 1

        async def __aexit__(self, *_: object) -> None:
            self.entered -= 1

        async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
            return Descriptor(BINARY, digest, self.entered)

    backend = Plain()
    async with Handler(backend) as application:
        assert (await request(application, "HEAD", BLOB))["content-length"] == "1"
    assert backend.entered == 0


async def test_other_protocols_are_refused() -> None:
    with pytest.raises(RuntimeError, match="websocket"):
        await Handler(Counted())({"type": "websocket"}, Lifespan.tell, Lifespan.tell)  # type: ignore[arg-type]
