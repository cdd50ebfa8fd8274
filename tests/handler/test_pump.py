"""Pieces that bypass the event loop: what a sink gets, when more is received, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ociserver import Backend, BlobWriter, Descriptor, Handler, OCIError
from ociserver.handler.body import CHUNK_SIZE, FREE_EVENTS, MAX_TINY_EVENTS, BodyLimits
from ociserver.types import Message
from tests.contract.contents import BINARY
from tests.handler.driver import Exchange, make_scope
from tests.handler.registry import UPLOADS

pytestmark = pytest.mark.anyio

PIECE = bytes(CHUNK_SIZE)
GONE: Message = {"type": "http.disconnect"}

DRAIN_S = 0.02
"""No test waits for what a client sends after the answer."""


class Client:
    """Sends what a test says, in futures like granian's. A call before that waits."""

    def __init__(self) -> None:
        self.asked = 0
        self.refuses = False
        self.waiting: asyncio.Future[Message] | None = None

    def __call__(self) -> asyncio.Future[Message]:
        assert self.waiting is None or self.waiting.done(), "one at a time"
        self.asked += 1
        if self.refuses:
            self.refuses = False
            raise RuntimeError("broken")
        self.waiting = asyncio.get_running_loop().create_future()
        return self.waiting

    async def says(self, message: Message) -> None:
        await settled()
        assert self.waiting
        self.waiting.set_result(message)
        await settled()

    async def sends(self, data: bytes, *, more: bool = True) -> None:
        await self.says({"type": "http.request", "body": data, "more_body": more})


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


class Pouring(Backend):
    """A backend whose writer is also a sink. It works off its backlog only when a test calls `deal`."""

    def __init__(self) -> None:
        self.id, self.chunk_size, self.size = "id", 0, 0
        self.written: list[bytes] = []
        self.added: list[bytes] = []
        self.high_water_mark = 2 * CHUNK_SIZE
        self.backlog = 0
        self.takes = True
        self.at_once = False
        self.waiting: list[tuple[int, Callable[[], object]]] = []
        self.keeping: list[Callable[[], object]] = []

    async def open_sink(self) -> Pouring | None:
        return self if self.takes and (self.written or self.at_once) else None

    async def push_blob_chunked_resume(self, *_: Any, **__: Any) -> BlobWriter:
        return self

    async def write(self, data: bytes) -> None:
        if not self.takes:
            raise OCIError("UNKNOWN", "what went wrong", status=507)
        self.written.append(data)

    def add(self, data: bytes) -> int | None:
        if not self.takes:
            return None
        self.added.append(data)
        self.backlog += len(data)
        return self.backlog

    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        self.waiting.append((backlog, callback))
        self.deal(0)

    def when_kept(self, callback: Callable[[], object]) -> None:
        self.keeping.append(callback)
        self.deal(0)

    def keep(self) -> None:
        """Report that all pieces are kept, worked off or not."""
        kept, self.keeping = self.keeping, []
        for callback in kept:
            callback()

    def deal(self, size: int) -> None:
        self.backlog -= size
        reached = [callback for backlog, callback in self.waiting if self.backlog <= backlog]
        self.waiting = [(backlog, callback) for backlog, callback in self.waiting if self.backlog > backlog]
        for callback in reached:
            callback()
        if not self.backlog:
            self.keep()

    async def commit(self, digest: str) -> Descriptor:
        return Descriptor(BINARY, digest, self.size)

    async def cancel(self) -> None:
        """Do nothing."""

    async def aclose(self) -> None:
        """Do nothing."""


class Pushing:
    """A running PATCH."""

    def __init__(self, *headers: tuple[str, str], limits: BodyLimits | None = None) -> None:
        self.backend, self.client, self.exchange = Pouring(), Client(), Exchange([])
        scope = make_scope("PATCH", UPLOADS + "aWQ", headers or [("transfer-encoding", "chunked")])
        handler = Handler(self.backend, body_limits=limits or BodyLimits(drain_idle_s=DRAIN_S))
        self.task = asyncio.ensure_future(handler(scope, self.client, self.exchange.send))

    async def status(self) -> int:
        await asyncio.wait_for(self.task, 10)
        return self.exchange.reply.status


@pytest.fixture
async def pushing() -> Pushing:
    pushing = Pushing()
    await pushing.client.sends(PIECE)
    assert pushing.backend.written == [PIECE]
    return pushing


async def test_what_comes_is_added_and_not_written(pushing: Pushing) -> None:
    pushing.backend.high_water_mark = 100 * CHUNK_SIZE
    for number in range(5):
        await pushing.client.sends(PIECE + bytes([number]))
    await pushing.client.sends(b"end", more=False)
    assert not pushing.task.done(), "the sink has not dealt with it"
    pushing.backend.deal(pushing.backend.backlog)
    assert await pushing.status() == 202
    assert pushing.backend.written == [PIECE]
    assert pushing.backend.added == [*(PIECE + bytes([number]) for number in range(5)), b"end"]


async def test_the_first_piece_too_where_there_is_a_sink_for_it() -> None:
    pushing = Pushing(("content-length", str(len(PIECE + b"end"))))
    pushing.backend.at_once = True
    await pushing.client.sends(PIECE)
    await pushing.client.sends(b"end", more=False)
    pushing.backend.deal(pushing.backend.backlog)
    assert await pushing.status() == 202
    assert (pushing.backend.written, pushing.backend.added) == ([], [PIECE, b"end"])


async def test_a_client_that_is_refused_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse() -> None:
        raise OCIError("RANGE_INVALID")

    pushing = Pushing(("expect", "100-continue"), ("content-length", "5"))
    monkeypatch.setattr(pushing.backend, "open_sink", refuse)
    assert await pushing.status() == 416
    assert pushing.client.asked == 0


async def test_a_short_body_opens_no_sink() -> None:
    pushing = Pushing(("content-length", "5"))
    pushing.backend.at_once = True
    await pushing.client.sends(b"short", more=False)
    assert await pushing.status() == 202
    assert (pushing.backend.written, pushing.backend.added) == ([b"short"], [])


async def test_not_before_it_is_known_that_something_comes() -> None:
    pushing = Pushing()
    pushing.backend.at_once = True
    await pushing.client.sends(b"", more=False)
    assert await pushing.status() == 202
    assert (pushing.backend.written, pushing.backend.added) == ([], [])


async def test_what_was_asked_for_and_not_taken_is_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: bytes) -> int:
        raise OCIError("UNKNOWN", status=507)

    pushing = Pushing(("expect", "100-continue"), ("content-length", str(2 * len(PIECE))))
    pushing.backend.at_once = True
    monkeypatch.setattr(pushing.backend, "add", broken)
    await pushing.client.sends(PIECE)
    assert pushing.client.asked == 2
    await pushing.client.sends(PIECE, more=False)
    assert await pushing.status() == 507


async def test_what_is_kept_need_not_be_dealt_with(pushing: Pushing) -> None:
    await pushing.client.sends(PIECE + b"end", more=False)
    assert not pushing.task.done()
    pushing.backend.keep()
    assert await pushing.status() == 202
    assert pushing.backend.backlog == len(PIECE + b"end")


async def test_small_pieces_are_joined(pushing: Pushing) -> None:
    for number in range(5):
        await pushing.client.sends(bytes([number]) * 1000)
    assert pushing.backend.added == []
    await pushing.client.sends(PIECE)
    (joined,) = pushing.backend.added
    assert joined == b"".join(bytes([number]) * 1000 for number in range(5)) + PIECE
    await pushing.client.sends(b"end", more=False)
    pushing.backend.deal(pushing.backend.backlog)
    assert await pushing.status() == 202
    assert pushing.backend.added == [joined, b"end"]


async def test_a_full_sink_holds_the_client_back(pushing: Pushing) -> None:
    for _ in range(3):
        await pushing.client.sends(PIECE)
    asked = pushing.client.asked
    assert pushing.client.waiting
    assert pushing.client.waiting.done(), "nobody waits for the client"
    pushing.backend.deal(CHUNK_SIZE)
    await settled()
    assert pushing.client.asked == asked, "more than half is left"
    pushing.backend.deal(CHUNK_SIZE)
    await settled()
    assert pushing.client.asked == asked + 1
    await pushing.client.sends(b"", more=False)
    pushing.backend.deal(pushing.backend.backlog)
    assert await pushing.status() == 202


async def test_a_sink_that_takes_no_more_is_asked_why_by_writing(pushing: Pushing) -> None:
    await pushing.client.sends(PIECE)
    pushing.backend.takes = False
    await pushing.client.sends(b"lost" + PIECE)
    await pushing.client.sends(b"behind" + PIECE)
    assert await pushing.status() == 507
    assert pushing.backend.added == [PIECE]
    assert pushing.backend.written == [PIECE]


async def test_the_writer_is_asked_now_and_then() -> None:
    pushing = Pushing(limits=BodyLimits(drain_idle_s=DRAIN_S, pump_s=0))
    pieces = [PIECE + bytes([number]) for number in range(6)] + [b"few", b"end"]
    for piece in pieces:
        await pushing.client.sends(piece, more=piece != b"end")
        pushing.backend.deal(pushing.backend.backlog)
    assert await pushing.status() == 202
    assert pushing.backend.written == [*pieces[:6:2], b"fewend"]
    assert pushing.backend.added == pieces[1:6:2]


async def test_a_client_that_goes_away(pushing: Pushing) -> None:
    await pushing.client.sends(PIECE)
    await pushing.client.sends(b"few")
    await pushing.client.says(GONE)
    pushing.backend.deal(pushing.backend.backlog)
    assert await pushing.status() == 400
    assert pushing.backend.added == [PIECE, b"few"]


async def test_a_client_that_falls_silent() -> None:
    pushing = Pushing(limits=BodyLimits(idle_s=0.1, drain_idle_s=DRAIN_S))
    await pushing.client.sends(PIECE)
    await pushing.client.sends(PIECE)
    assert await pushing.status() == 408
    assert pushing.client.waiting
    assert pushing.client.waiting.cancelled()


async def test_what_a_silent_client_has_sent_is_kept() -> None:
    pushing = Pushing(limits=BodyLimits(idle_s=0.1, drain_idle_s=DRAIN_S))
    await pushing.client.sends(PIECE)
    await pushing.client.sends(b"few")
    assert await pushing.status() == 408
    assert pushing.backend.added == [b"few"]


async def test_the_client_need_not_send_while_the_sink_is_full() -> None:
    pushing = Pushing(limits=BodyLimits(idle_s=0.05, drain_idle_s=DRAIN_S))
    for _ in range(4):
        await pushing.client.sends(PIECE)
    await asyncio.sleep(0.2)
    pushing.backend.deal(3 * CHUNK_SIZE)
    await pushing.client.sends(b"", more=False)
    assert await pushing.status() == 202


async def test_a_slow_client_is_not_given_up() -> None:
    pushing = Pushing(limits=BodyLimits(idle_s=0.2, drain_idle_s=DRAIN_S))
    for _ in range(6):
        await pushing.client.sends(PIECE)
        pushing.backend.deal(pushing.backend.backlog)
        await asyncio.sleep(0.05)
    await pushing.client.sends(b"", more=False)
    assert await pushing.status() == 202


async def test_pieces_that_carry_little_leave_the_pump() -> None:
    """The event loop slows them down, and refuses the body in the end."""
    pushing = Pushing(("content-length", str(CHUNK_SIZE + 1)))
    pushing.backend.at_once = True
    sent = 0
    while not pushing.task.done():
        if pushing.client.waiting and not pushing.client.waiting.done():
            pushing.client.waiting.set_result({"type": "http.request", "body": b"x", "more_body": True})
            sent += 1
        pushing.backend.deal(pushing.backend.backlog)
        await asyncio.sleep(0)
    assert await pushing.status() == 400
    assert pushing.exchange.reply["connection"] == "close"
    assert sent == MAX_TINY_EVENTS + 1
    # The pump has passed the first pieces on, and the writer the rest.
    assert b"".join(pushing.backend.added) == b"x" * (FREE_EVENTS + 1)
    assert b"".join(pushing.backend.written) == b"x" * (sent - FREE_EVENTS - 1)


async def test_nothing_is_added_once_it_is_broken_off(pushing: Pushing) -> None:
    await pushing.client.sends(PIECE)
    late = pushing.client.waiting
    assert late
    pushing.task.cancel()
    await asyncio.gather(pushing.task, return_exceptions=True)
    assert late.cancelled()
    assert pushing.backend.added == [PIECE]


async def test_what_the_server_raises_is_not_lost(pushing: Pushing) -> None:
    await settled()
    assert pushing.client.waiting
    pushing.client.waiting.set_exception(RuntimeError("broken"))
    assert await pushing.status() == 500


async def test_what_the_server_raises_when_it_is_asked_for_more_is_not_lost(pushing: Pushing) -> None:
    for _ in range(3):
        await pushing.client.sends(PIECE)
    pushing.client.refuses = True
    pushing.backend.deal(pushing.backend.backlog)
    assert await pushing.status() == 500


async def test_what_the_sink_raises_is_not_lost(pushing: Pushing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing.backend, "add", lambda _data: 1 // 0)
    await pushing.client.sends(PIECE)
    assert await pushing.status() == 500
