"""Bodies in pieces that cost much more than they carry: received slowly, and then no more."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ociserver import Descriptor, Handler, Memory
from ociserver.handler.body import FREE_EVENTS, LEAST_AVERAGE, MAX_TINY_EVENTS
from ociserver.handler.pace import Pace
from ociserver.types import Message
from tests.contract.contents import BINARY, REPOSITORY, digest_of, pieces_of
from tests.handler.driver import Exchange, body_messages, make_scope, request
from tests.handler.registry import UPLOADS

pytestmark = pytest.mark.anyio

MANIFEST = f"/v2/{REPOSITORY}/manifests/latest"
CHUNKED = ("transfer-encoding", "chunked")


@pytest.fixture
def application() -> Handler:
    """One that holds nobody back, as time is not what most of these tests are about."""
    handler = Handler(Memory())
    handler.site = replace(handler.site, pace=Pace(1_000_000))
    return handler


async def upload(application: Handler) -> str:
    return (await request(application, "POST", UPLOADS))["location"]


async def push(application: Handler, method: str, target: str, pieces: list[bytes], **fields: object) -> Exchange:
    exchange = Exchange(body_messages(pieces))
    await application(make_scope(method, target, [CHUNKED], **fields), exchange.receive, exchange.send)
    return exchange


async def test_an_upload_is_given_up_and_keeps_what_came(application: Handler) -> None:
    location = await upload(application)
    exchange = await push(application, "PATCH", location, [b"x"] * 5000)
    assert (exchange.reply.status, exchange.reply.code) == (400, "UNKNOWN")
    assert f"less than {LEAST_AVERAGE} bytes on average" in exchange.reply.message
    assert exchange.reply["connection"] == "close"
    # It is not read to its end, as the body of another request that is refused.
    assert exchange.received == MAX_TINY_EVENTS + 1
    assert (await request(application, "GET", location))["upload-offset"] == str(MAX_TINY_EVENTS + 1)


@pytest.mark.parametrize(
    "method, target",
    [("PUT", MANIFEST), ("POST", f"{UPLOADS}?digest={digest_of(b'x' * 5000)}")],
    ids=["manifest", "blob"],
)
async def test_so_is_a_push(application: Handler, method: str, target: str) -> None:
    exchange = await push(application, method, target, [b"x"] * 5000)
    assert (exchange.reply.status, exchange.reply["connection"]) == (400, "close")
    assert exchange.received == MAX_TINY_EVENTS + 1
    assert application.backend.size_bytes == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("method, target", [("POST", "/v2/NO/blobs/uploads/"), ("GET", "/v2/"), ("GET", "/elsewhere")])
async def test_what_is_left_of_a_refused_request_is_not_read_to_its_end(
    application: Handler, method: str, target: str
) -> None:
    """Nobody needs leave to push for this."""
    exchange = await push(application, method, target, [b"x"] * 5000)
    assert exchange.reply.complete
    assert exchange.received == MAX_TINY_EVENTS + 1


async def test_nor_what_is_sent_during_a_download(application: Handler) -> None:
    content = bytes(4 << 20)
    digest = digest_of(content)
    pieces = pieces_of(content[: 1 << 20], content[1 << 20 :])
    await application.backend.push_blob(REPOSITORY, Descriptor(BINARY, digest, len(content)), pieces)
    path = f"/v2/{REPOSITORY}/blobs/{digest}"
    exchange = Exchange(body_messages([b"x"] * 5000))

    async def send(message: Message) -> None:
        await exchange.send(message)
        # A turn for the task that watches the client.
        await asyncio.sleep(0.01)

    await application(make_scope("GET", path, [CHUNKED]), exchange.receive, send)
    # Its connection is of no use any more.
    assert not exchange.reply.complete
    assert exchange.received == MAX_TINY_EVENTS + 1


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes(LEAST_AVERAGE)] * 5000,
        [bytes(3000 * LEAST_AVERAGE), *[b"x"] * 2900],
        [b"x"] * MAX_TINY_EVENTS,
        # The last one ends it, and nothing is gained by refusing it.
        [b"x"] * (MAX_TINY_EVENTS + 1),
        [b"", *[b"x", b""] * 400],
    ],
    ids=["just large enough", "large before", "few", "the last", "empty ones"],
)
async def test_what_is_worth_its_events(application: Handler, pieces: list[bytes]) -> None:
    exchange = await push(application, "PATCH", await upload(application), pieces)
    assert (exchange.reply.status, exchange.reply["upload-offset"]) == (202, str(sum(map(len, pieces))))


async def test_http_2_has_no_connection_to_close(application: Handler) -> None:
    """RFC 9113, 8.2.2: the field would make the answer malformed."""
    exchange = await push(application, "PATCH", await upload(application), [b"x"] * 5000, http_version="2")
    assert (exchange.reply.status, exchange.reply.all("connection")) == (400, [])


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_nothing_holds_what_the_server_receives_with(application: Handler, uncollected: None) -> None:
    """Else the server would keep the connection until Python looks for circles."""

    class Client:
        def __init__(self) -> None:
            self.exchange = Exchange(body_messages([b"x"] * 5000))

        async def __call__(self) -> Message:
            return await self.exchange.receive()

    client = Client()
    seen = weakref.ref(client)
    await application(make_scope("PATCH", await upload(application), [CHUNKED]), client, client.exchange.send)
    assert client.exchange.reply.status == 400
    del client
    assert seen() is None


async def test_they_are_held_back_together() -> None:
    """A client that comes back each time it is refused takes no more time than all such clients together may."""
    application = Handler(Memory())
    application.site = replace(application.site, pace=Pace(2000))
    bodies, events = 4, FREE_EVENTS + 100
    locations = [await upload(application) for _ in range(bodies)]
    began = time.monotonic()
    await asyncio.gather(*(push(application, "PATCH", location, [b"x"] * events) for location in locations))
    # Each has some events for nothing. Timers may come a little early.
    assert time.monotonic() - began > (bodies * (events - FREE_EVENTS) - 20) / 2000


async def test_others_are_not_held_back() -> None:
    application = Handler(Memory())
    application.site = replace(application.site, pace=Pace(0.001))
    location = await upload(application)
    for piece in (b"x", bytes(LEAST_AVERAGE)):
        exchange = await push(application, "PATCH", location, [piece] * FREE_EVENTS)
        assert exchange.reply.status == 202
    exchange = await push(application, "PATCH", location, [bytes(LEAST_AVERAGE)] * 3000)
    assert exchange.reply.status == 202
