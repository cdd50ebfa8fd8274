"""Bodies are joined into larger pieces, read one piece ahead, and kept when they break off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import pytest

from ociserver import Backend, BlobWriter, Descriptor, Handler, Memory
from ociserver.handler.body import CHUNK_SIZE, BodyLimits
from ociserver.types import Message
from tests.contract.contents import BINARY, REPOSITORY, digest_of
from tests.handler.driver import Exchange, body_messages, make_scope, request
from tests.handler.registry import BLOB, UPLOADS

pytestmark = pytest.mark.anyio

EVENT = 200 * 1024
"""Bytes of an event of granian."""


class Sink(Backend):
    """Records its pieces. Each write waits for `gate`."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = 0
        self.size = 0
        self.id = "id"
        self.chunk_size = 0

    async def push_blob_chunked_resume(self, *_: Any, **__: Any) -> BlobWriter:
        return self

    async def write(self, data: bytes) -> None:
        self.pieces.append(data)
        self.size += len(data)
        await self.gate.wait()

    async def commit(self, digest: str) -> Descriptor:
        return Descriptor(BINARY, digest, self.size)

    async def cancel(self) -> None:
        raise AssertionError("nobody has cancelled")

    async def aclose(self) -> None:
        self.closed += 1


def sizes_of(sink: Sink) -> list[int]:
    return [len(piece) for piece in sink.pieces]


async def patch(sink: Sink, pieces: Iterable[bytes]) -> None:
    reply = await request(Handler(sink), "PATCH", UPLOADS + "aWQ", list(pieces))
    assert reply.status == 202


def messages_of(*sizes: int) -> list[bytes]:
    return [bytes([number % 256]) * size for number, size in enumerate(sizes)]


async def test_small_pieces_are_joined() -> None:
    sink = Sink()
    pieces = messages_of(*[1000] * 3000)
    await patch(sink, pieces)
    assert b"".join(sink.pieces) == b"".join(pieces)
    # Every piece but the last is worth the thread switch, and none is much longer.
    assert all(CHUNK_SIZE <= size < CHUNK_SIZE + 1000 for size in sizes_of(sink)[:-1])


async def test_large_pieces_are_passed_on() -> None:
    sink = Sink()
    pieces = messages_of(CHUNK_SIZE, CHUNK_SIZE * 2, 5)
    await patch(sink, pieces)
    assert sizes_of(sink) == [CHUNK_SIZE, CHUNK_SIZE * 2, 5]


async def test_a_short_body_is_one_piece() -> None:
    sink = Sink()
    await patch(sink, messages_of(3, 0, 4))
    assert sizes_of(sink) == [7]


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b"", b""]])
async def test_an_empty_body_is_no_piece(pieces: list[bytes]) -> None:
    sink = Sink()
    await patch(sink, pieces)
    assert sink.pieces == []
    assert sink.closed == 1


async def test_one_event_ahead_and_no_more() -> None:
    """A backend that does not take it holds the client back: backpressure, at bounded memory."""
    sink = Sink()
    sink.gate.clear()
    exchange = Exchange(body_messages(messages_of(*[CHUNK_SIZE // 4] * 100)))
    scope = make_scope("PATCH", UPLOADS + "aWQ", [("transfer-encoding", "chunked")])
    task = asyncio.ensure_future(Handler(sink)(scope, exchange.receive, exchange.send))
    for _ in range(500):
        await asyncio.sleep(0)
    # One piece of four events is being written, one event in waiting.
    assert len(sink.pieces) == 1
    assert exchange.received == 5
    sink.gate.set()
    await task
    assert (exchange.reply.status, sink.size) == (202, 25 * CHUNK_SIZE)


async def test_the_next_piece_comes_while_one_is_written() -> None:
    sink = Sink()
    sink.gate.clear()
    exchange = Exchange(body_messages(messages_of(CHUNK_SIZE, CHUNK_SIZE, CHUNK_SIZE)))
    scope = make_scope("PATCH", UPLOADS + "aWQ", [("transfer-encoding", "chunked")])
    task = asyncio.ensure_future(Handler(sink)(scope, exchange.receive, exchange.send))
    for _ in range(100):
        await asyncio.sleep(0)
    assert (len(sink.pieces), exchange.received) == (1, 2)
    sink.gate.set()
    await task


async def test_a_body_of_known_length_is_not_asked_for_its_end() -> None:
    """granian says it in a message of its own, for which a small push would wait as long as for its bytes."""
    feed = Feed(more(b"te"), more(b"xt"))
    scope = make_scope("POST", f"{UPLOADS}?digest={digest_of(b'text')}", [("content-length", "4")])
    exchange = Exchange([])
    await asyncio.wait_for(Handler(Memory())(scope, feed, exchange.send), 5)
    assert (exchange.reply.status, feed.asked) == (201, 2)


async def test_a_body_of_no_length_is_not_asked_for() -> None:
    application = Handler(Memory())
    location = await upload(application)
    feed, exchange = Feed(), Exchange([])
    scope = make_scope("PUT", f"{location}?digest={digest_of(b'')}", [("content-length", "0")])
    await asyncio.wait_for(application(scope, feed, exchange.send), 5)
    assert (exchange.reply.status, feed.asked) == (201, 0)


async def test_chunks_tell_where_a_body_ends() -> None:
    """And no length beside them (RFC 9112, 6.3)."""
    feed, exchange = Feed(more(b"te"), {"type": "http.request", "body": b"xt"}), Exchange([])
    headers = [("content-length", "2"), ("transfer-encoding", "chunked")]
    await Handler(Sink())(make_scope("PATCH", UPLOADS + "aWQ", headers), feed, exchange.send)
    assert (exchange.reply.status, exchange.reply["upload-offset"]) == (202, "4")


class Feed:
    """A client that sends these messages and then stays silent, or goes away."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)
        self.asked = 0

    async def __call__(self) -> Message:
        self.asked += 1
        if self._messages:
            return self._messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError


def more(data: bytes) -> Message:
    return {"type": "http.request", "body": data, "more_body": True}


GONE: Message = {"type": "http.disconnect"}


async def upload(application: Handler) -> str:
    return (await request(application, "POST", UPLOADS))["location"]


async def run(application: Handler, method: str, target: str, receive: Callable[[], Awaitable[Message]]) -> Exchange:
    exchange = Exchange([])
    await application(make_scope(method, target, [("transfer-encoding", "chunked")]), receive, exchange.send)
    return exchange


async def progress(application: Handler, location: str) -> str:
    return (await request(application, "GET", location))["range"]


async def test_a_client_that_goes_away_leaves_what_came() -> None:
    application = Handler(Memory())
    location = await upload(application)
    content = b"a" * 700_000 + b"bc"
    exchange = await run(application, "PATCH", location, Feed(more(content[:700_000]), more(b"bc"), GONE))
    # A bad chunk looks the same to the server, and that client needs an answer.
    assert exchange.reply.status == 400
    assert await progress(application, location) == f"0-{len(content) - 1}"
    resumed = await request(
        application, "PUT", f"{location}?digest={digest_of(content + b'd')}", b"d", {"content-range": "700002-700002"}
    )
    assert resumed.status == 201


async def test_a_client_that_goes_away_in_the_closing_request() -> None:
    application = Handler(Memory())
    location = await upload(application)
    await run(application, "PUT", f"{location}?digest={digest_of(b'text')}", Feed(more(b"te"), GONE))
    assert await progress(application, location) == "0-1"
    assert (await request(application, "HEAD", f"/v2/{REPOSITORY}/blobs/{digest_of(b'text')}")).status == 404


@pytest.mark.parametrize("method, target", [("POST", f"{UPLOADS}?digest={digest_of(b'te')}"), ("PUT", BLOB)])
async def test_a_push_that_breaks_off_stores_nothing(method: str, target: str) -> None:
    backend = Memory()
    target = target.replace("/blobs/sha256", "/manifests/sha256") if method == "PUT" else target
    exchange = await run(Handler(backend), method, target, Feed(more(b"te"), GONE))
    assert exchange.reply.status == 400
    assert backend.content_bytes == 0


async def test_a_client_that_falls_silent() -> None:
    application = Handler(Memory(), body_limits=BodyLimits(idle_s=0.05))
    location = await upload(application)
    exchange = await run(application, "PATCH", location, Feed(more(b"text")))
    assert (exchange.reply.status, exchange.reply.code) == (408, "UNKNOWN")
    assert await progress(application, location) == "0-3"


async def test_a_slow_client_is_not_given_up() -> None:
    """The time of a whole body has no limit, as long as bytes come."""

    async def slow() -> AsyncIterator[Message]:
        for number in range(12):
            await asyncio.sleep(0.06)
            yield {"type": "http.request", "body": b"x", "more_body": number < 11}

    application = Handler(Memory(), body_limits=BodyLimits(idle_s=0.5))
    location = await upload(application)
    exchange = await run(application, "PATCH", location, slow().__anext__)
    assert (exchange.reply.status, exchange.reply["range"]) == (202, "0-11")


async def refused(
    receive: Callable[[], Awaitable[Message]], *headers: tuple[str, str], limits: BodyLimits | None = None
) -> Exchange:
    """An upload that is refused before its body is read."""
    exchange = Exchange([])
    scope = make_scope("POST", "/v2/NO/blobs/uploads/", headers or [("transfer-encoding", "chunked")])
    await Handler(Memory(), body_limits=limits)(scope, receive, exchange.send)
    assert (exchange.reply.status, exchange.reply.code) == (400, "NAME_INVALID")
    assert exchange.reply.complete
    return exchange


async def test_an_early_answer_is_followed_by_the_rest_of_the_body() -> None:
    """Otherwise a client that reads the answer only after its whole body would get a connection reset."""
    exchange = Exchange(body_messages(messages_of(*[EVENT] * 50)))
    await refused(exchange.receive)
    assert exchange.received == 50


async def test_draining_ends_with_the_client() -> None:
    feed = Feed(more(b"a"), GONE)
    await refused(feed)
    assert feed.asked == 2


async def test_draining_does_not_wait_for_a_silent_client() -> None:
    await asyncio.wait_for(refused(Feed(more(b"a")), limits=BodyLimits(drain_idle_s=0.05)), 4)


async def test_draining_is_bounded_in_all() -> None:

    async def endless() -> Message:
        await asyncio.sleep(0.01)
        return more(b"x")

    await asyncio.wait_for(refused(endless, limits=BodyLimits(drain_total_s=0.2)), 5)


@pytest.mark.parametrize(
    "headers", [[("content-length", "0")], [("x-nothing", "1")], [("expect", "100-continue"), ("content-length", "9")]]
)
async def test_nothing_is_drained_where_nothing_is_sent(headers: list[tuple[str, str]]) -> None:
    """The last client waits for `100 Continue`, which a read of the body would send."""
    feed = Feed()
    await asyncio.wait_for(refused(feed, *headers), 5)
    assert feed.asked == 0


async def test_expecting_100_with_a_body_that_is_wanted() -> None:
    backend = Memory()
    exchange = Exchange(body_messages([b"text"]))
    headers = [("expect", "100-continue"), ("content-length", "4")]
    scope = make_scope("POST", f"{UPLOADS}?digest={digest_of(b'text')}", headers)
    await Handler(backend)(scope, exchange.receive, exchange.send)
    assert exchange.reply.status == 201


async def test_a_download_ends_with_its_client() -> None:
    """Servers ignore what is sent to a disconnected client: the rest of the blob must not be read."""

    class Endless(Backend):
        read = 0
        closed = 0
        descriptor = Descriptor(BINARY, digest_of(b""), 10**12)
        range = (0, 10**12)
        location = None

        async def get_blob(self, *_: Any, **__: Any) -> Any:
            return self

        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                self.read += 1
                yield bytes(100_000)

        async def aclose(self) -> None:
            self.closed += 1

    backend = Endless()
    gone = asyncio.Event()

    async def receive() -> Message:
        await gone.wait()
        return GONE

    exchange = Exchange([])

    async def send(message: Message) -> None:
        await asyncio.sleep(0)
        await exchange.send(message)
        if len(exchange.reply.pieces) == 5:
            gone.set()

    await asyncio.wait_for(Handler(backend)(make_scope("GET", BLOB), receive, send), 5)
    assert not exchange.reply.complete
    assert backend.read < 20
    assert backend.closed == 1
