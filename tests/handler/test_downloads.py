"""Large downloads whose pieces need no waiting, neither to be read nor to be sent: they leave the loop to others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ociserver import Backend, BlobReader, ByteRange, Descriptor, Handler
from ociserver.handler.sending import TURN_SIZE
from ociserver.types import Message
from tests.contract.contents import REPOSITORY, digest_of
from tests.handler.driver import Exchange, body_messages, make_scope

pytestmark = pytest.mark.anyio

PIECE = bytes(64 * 1024)
PIECES = 1000
DIGEST = digest_of(b"large")


class Reading:
    """A blob of `PIECES` pieces, or a part of it, which is there at once."""

    descriptor = Descriptor("application/octet-stream", DIGEST, PIECES * len(PIECE))
    location = None

    def __init__(self, wanted: ByteRange | None) -> None:
        span = wanted.resolve(self.descriptor.size) if wanted else None
        self.range = span or (0, self.descriptor.size)
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        start, stop = self.range
        for _ in range(start, stop, len(PIECE)):
            self.given += 1
            yield PIECE

    async def aclose(self) -> None:
        """Nothing is held."""


class Large(Backend):
    def __init__(self) -> None:
        self.readers: list[Reading] = []

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        self.readers.append(Reading(range))
        return self.readers[-1]

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        return Reading.descriptor


class Leaving(Exchange):
    """A client that disconnects after its third piece. Like servers, `send` then ignores what it gets."""

    def __init__(self) -> None:
        super().__init__(body_messages([]))
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        if not self.received:
            return await super().receive()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        await super().send(message)
        if len(self.reply.pieces) == 3:
            self.gone.set()


@pytest.mark.parametrize("headers", [[], [("range", f"bytes=0-{500 * len(PIECE) - 1},{600 * len(PIECE)}-")]])
async def test_a_client_that_has_gone_is_noticed(headers: list[tuple[str, str]]) -> None:
    large, exchange = Large(), Leaving()
    scope = make_scope("GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}", headers)
    await Handler(large)(scope, exchange.receive, exchange.send)
    assert not exchange.reply.complete
    assert sum(reader.given for reader in large.readers) <= 3 * TURN_SIZE // len(PIECE)


async def test_others_get_their_turns() -> None:
    exchange, turns = Exchange(body_messages([])), 0

    async def other() -> None:
        nonlocal turns
        while not exchange.reply.complete:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.ensure_future(other())
    await Handler(Large())(make_scope("GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}"), exchange.receive, exchange.send)
    await running
    assert len(exchange.reply.body) == PIECES * len(PIECE)
    assert turns >= PIECES * len(PIECE) // TURN_SIZE
