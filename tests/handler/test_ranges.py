"""Parts of a blob: one range, several as multipart/byteranges, and those that cannot be (RFC 9110, 14)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest

from ociserver import Backend, BlobReader, ByteRange, Handler, Memory, Store, compose
from ociserver._core import MAX_RANGES
from tests.contract.contents import REPOSITORY, digest_of, push_blob
from tests.handler.driver import Exchange, Reply, make_scope, request
from tests.handler.registry import BLOB, DIGEST, MANIFEST, TEXT, handler

pytestmark = pytest.mark.anyio


async def ask(header: str, method: str = "GET", path: str = BLOB) -> Reply:
    return await request(await handler(), method, path, headers={"range": header})


def parts_of(reply: Reply) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer, as the standard library reads them: (Content-Range, bytes)."""
    head = f"Content-Type: {reply['content-type']}\r\n\r\n".encode()
    message = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + reply.body)
    assert message.get_content_type() == "multipart/byteranges"
    assert message.is_multipart()
    assert not message.defects
    parts = []
    for part in message.iter_parts():
        assert part.get_content_type() == "application/octet-stream"
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        parts.append((str(part["content-range"]), content))
    return parts


@pytest.mark.parametrize(
    "header, content_range, body",
    [
        ("bytes=0-0", "bytes 0-0/10", b"0"),
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("bytes=0-9", "bytes 0-9/10", TEXT),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        # The whole, and still a part: 206.
        ("bytes=0-", "bytes 0-9/10", TEXT),
        ("bytes=-99", "bytes 0-9/10", TEXT),
        ("bytes=5-99", "bytes 5-9/10", b"56789"),
        (f"bytes=5-{2**63 - 1}", "bytes 5-9/10", b"56789"),
        (f"bytes=5-{10**30}", "bytes 5-9/10", b"56789"),
        ("bytes= 2 - 4 ", "bytes 2-4/10", b"234"),
        # RFC 9110, 14.1: range units are case-insensitive.
        ("Bytes=2-4", "bytes 2-4/10", b"234"),
    ],
)
async def test_one_range(header: str, content_range: str, body: bytes) -> None:
    reply = await ask(header)
    assert (reply.status, reply["content-range"], reply.body) == (206, content_range, body)
    assert reply["content-length"] == str(len(body))
    assert reply["docker-content-digest"] == digest_of(TEXT)
    assert reply["accept-ranges"] == "bytes"


@pytest.mark.parametrize("header", ["bytes=", "items=0-1", "seconds=-5"])
async def test_no_range_at_all(header: str) -> None:
    reply = await ask(header)
    assert (reply.status, reply.body) == (200, TEXT)
    assert not reply.all("content-range")


@pytest.mark.parametrize(
    "header",
    [
        "bytes=10-",
        "bytes=10-12",
        "bytes=99-100",
        f"bytes={10**30}-",
        "bytes=-0",
        # Malformed, or first > last: RFC 9110 lets a server ignore it, but the conformance suite requires 416.
        "none",
        "",
        "bytes=5-0",
        "bytes=4-3",
        "bytes=a-b",
        "bytes=-",
        "bytes=1",
        "bytes=--1",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1_0-",
        "bytes=0x1-2",
        "bytes=1-2,x",
        "bytes=20-30,40-50",
    ],
)
async def test_what_cannot_be_satisfied_names_the_size(header: str) -> None:
    reply = await ask(header)
    assert (reply.status, reply.code) == (416, "RANGE_INVALID")
    assert reply["content-range"] == "bytes */10"


@pytest.mark.parametrize("kind", ["memory", "store"])
@pytest.mark.parametrize(
    "header, status",
    [
        # All of it, which is nothing; some clients send a Range with every request.
        ("bytes=0-", 200),
        ("bytes=0-0", 200),
        ("bytes=-5", 200),
        ("bytes=0-0,-5", 200),
        # It asks for nothing, or for what lies behind the end.
        ("bytes=-0", 416),
        ("bytes=5-", 416),
        ("bytes=1-2,5-", 416),
    ],
)
async def test_a_range_of_an_empty_blob(kind: str, header: str, status: int, tmp_path: Path) -> None:
    async with Handler(Memory() if kind == "memory" else Store(tmp_path / "data")) as application:
        path = f"/v2/{REPOSITORY}/blobs/{await push_blob(application.backend, b'')}"
        reply = await request(application, "GET", path, headers={"range": header})
    assert reply.status == status
    if status == 200:
        assert (reply["content-length"], reply.body, reply.all("content-range")) == ("0", b"", [])
    else:
        assert (reply.code, reply["content-range"]) == ("RANGE_INVALID", "bytes */0")


async def test_a_range_of_what_is_not_there() -> None:
    path = BLOB[:-4] + "0000"
    for header in ("bytes=0-1", "bytes=0-1,3-4", "bytes=5-0"):
        reply = await ask(header, path=path)
        assert (reply.status, reply.code) == (404, "BLOB_UNKNOWN")


@pytest.mark.parametrize(
    "header, parts",
    [
        ("bytes=0-1,4-5", [("bytes 0-1/10", b"01"), ("bytes 4-5/10", b"45")]),
        ("bytes=0-0, 2-2 ,4-4", [("bytes 0-0/10", b"0"), ("bytes 2-2/10", b"2"), ("bytes 4-4/10", b"4")]),
        ("bytes=-1,0-0", [("bytes 0-0/10", b"0"), ("bytes 9-9/10", b"9")]),
        # Those that lie outside are left out, as long as one is inside.
        ("bytes=0-0,50-60,8-", [("bytes 0-0/10", b"0"), ("bytes 8-9/10", b"89")]),
        # Overlapping and adjoining ones are sent once (RFC 9110, 14.2: they cost the server more than the client).
        ("bytes=0-5,3-7", [("bytes 0-7/10", b"01234567")]),
        ("bytes=0-2,3-5,9-9", [("bytes 0-5/10", b"012345"), ("bytes 9-9/10", b"9")]),
        ("bytes=0-9,0-9,0-9", [("bytes 0-9/10", TEXT)]),
        ("bytes=5-,-8", [("bytes 2-9/10", b"23456789")]),
        ("bytes=" + ",".join(["1-1"] * 15 + ["3-3"]), [("bytes 1-1/10", b"1"), ("bytes 3-3/10", b"3")]),
    ],
)
async def test_several_ranges(header: str, parts: list[tuple[str, bytes]]) -> None:
    reply = await ask(header)
    assert reply.status == 206
    assert sorted(parts_of(reply)) == sorted(parts)
    assert reply["content-length"] == str(len(reply.body))
    assert not reply.all("content-range")
    assert reply["docker-content-digest"] == digest_of(TEXT)


async def test_several_ranges_of_a_large_blob() -> None:
    content = bytes(range(256)) * 20_000
    backend = Memory()
    digest = await push_blob(backend, content)
    spans = [(number * 300_000, number * 300_000 + 200_000) for number in range(16)]
    header = "bytes=" + ",".join(f"{start}-{stop - 1}" for start, stop in spans)
    reply = await request(Handler(backend), "GET", f"/v2/{REPOSITORY}/blobs/{digest}", headers={"range": header})
    assert reply.complete
    assert reply["content-length"] == str(len(reply.body))
    assert parts_of(reply) == [
        (f"bytes {start}-{stop - 1}/{len(content)}", content[start:stop]) for start, stop in spans
    ]


class Opening(compose.ReadOnly):
    """Notes the range that each reader was opened for."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.opened: list[ByteRange | None] = []

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        self.opened.append(range)
        return await super().get_blob(repository, digest, range)


class Plain:
    """A reader that gives nothing but what it was opened for, as those of registries elsewhere."""

    location = None

    def __init__(self, inner: BlobReader) -> None:
        self.descriptor = inner.descriptor
        self.range = inner.range
        self._inner = inner

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._inner)

    async def aclose(self) -> None:
        await self._inner.aclose()


class InOrder(Opening):
    """The same, with such readers."""

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        return Plain(await super().get_blob(repository, digest, range))


def header_of(spans: list[tuple[int, int]]) -> str:
    return "bytes=" + ",".join(f"{start}-{stop - 1}" for start, stop in spans)


def ranges_of(spans: list[tuple[int, int]], content: bytes) -> list[tuple[str, bytes]]:
    return [(f"bytes {start}-{stop - 1}/{len(content)}", content[start:stop]) for start, stop in spans]


@pytest.fixture(params=["memory", "store", "store, small"])
async def pushed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Backend, bytes]]:
    """A registry, and the content of a blob in it: in memory, in a file, in the database."""
    content = random.Random(3).randbytes(15_000 if request.param == "store, small" else 3_000_000)
    backend: Backend = Memory() if request.param == "memory" else Store(tmp_path / "data", durability="off")
    async with backend:
        await push_blob(backend, content)
        yield backend, content


async def test_a_thousand_ranges(pushed: tuple[Backend, bytes]) -> None:
    """As many as a client with a part of a layer asks for (zstd:chunked). The blob is opened once."""
    backend, content = pushed
    width = len(content) // MAX_RANGES
    # Every second range is long, and they come in any order.
    spans = [(at * width, at * width + (width - 1 if at % 2 else 3)) for at in range(MAX_RANGES)]
    asked = spans.copy()
    random.Random(4).shuffle(asked)
    opening = Opening(backend)
    path = f"/v2/{REPOSITORY}/blobs/{digest_of(content)}"
    reply = await request(Handler(opening), "GET", path, headers={"range": header_of(asked)})
    assert (reply.status, reply.complete) == (206, True)
    assert reply["content-length"] == str(len(reply.body))
    assert parts_of(reply) == ranges_of(spans, content)
    assert len(opening.opened) == 1
    # Small parts share messages, and no message holds the answer.
    assert len(reply.pieces) < 100
    assert max(map(len, reply.pieces)) < 1024 * 1024


async def test_ranges_of_a_reader_that_only_goes_on(pushed: tuple[Backend, bytes]) -> None:
    """It is opened for parts that lie near each other, and again behind a gap that costs more than opening."""
    backend, content = pushed
    near = [(start, start + 100) for start in range(0, 10_000, 500)]
    far = [(start, start + 300_000) for start in range(200_000, len(content) - 300_000, 400_000)]
    opening = InOrder(backend)
    path = f"/v2/{REPOSITORY}/blobs/{digest_of(content)}"
    reply = await request(Handler(opening), "GET", path, headers={"range": header_of(near + far)})
    assert (reply.status, reply.complete) == (206, True)
    assert parts_of(reply) == ranges_of(near + far, content)
    assert opening.opened == [ByteRange(start, stop - 1) for start, stop in [(0, near[-1][1]), *far]]


async def test_many_overlapping_ranges_bring_each_byte_once(pushed: tuple[Backend, bytes]) -> None:
    backend, content = pushed
    spans = [(at, at + 10) for at in range(MAX_RANGES)]
    path = f"/v2/{REPOSITORY}/blobs/{digest_of(content)}"
    reply = await request(Handler(backend), "GET", path, headers={"range": header_of(spans)})
    assert parts_of(reply) == ranges_of([(0, MAX_RANGES + 9)], content)


async def test_more_ranges_than_are_served(pushed: tuple[Backend, bytes]) -> None:
    """RFC 9110, 14.2: a server may ignore the header. The client gets more than it asked for, and no error."""
    backend, content = pushed
    spans = [(at * 3, at * 3 + 1) for at in range(MAX_RANGES + 1)]
    path = f"/v2/{REPOSITORY}/blobs/{digest_of(content)}"
    reply = await request(Handler(backend), "GET", path, headers={"range": header_of(spans)})
    assert (reply.status, reply.body) == (200, content)
    assert not reply.all("content-range")


async def test_a_part_that_is_too_short_cuts_the_answer() -> None:
    content = bytes(200_000)

    class Short(compose.ReadOnly):
        async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Any:
            reader = await super().get_blob(repository, digest, range)
            part = reader.part  # type: ignore[attr-defined]
            reader.part = lambda start, stop: part(start, min(stop, 150_000))  # type: ignore[attr-defined]
            return reader

    backend = Memory()
    path = f"/v2/{REPOSITORY}/blobs/{await push_blob(backend, content)}"
    scope = make_scope("GET", path, [("range", "bytes=0-99999,120000-199999")])
    exchange = Exchange([])
    with pytest.raises(RuntimeError, match="the backend gave 30000 of 80000 bytes"):
        await Handler(Short(backend))(scope, exchange.receive, exchange.send)
    assert (exchange.reply.status, exchange.reply.complete) == (206, False)


async def test_boundaries_differ() -> None:
    """One that could be foretold could be pushed inside of a blob."""
    one, two = await ask("bytes=0-1,4-5"), await ask("bytes=0-1,4-5")
    assert one["content-type"] != two["content-type"]


async def test_head_has_no_ranges() -> None:
    # RFC 9110, 14.2: a Range is for GET alone.
    reply = await ask("bytes=2-4", "HEAD")
    assert (reply.status, reply["content-length"], reply.body) == (200, "10", b"")


async def test_manifests_have_no_ranges() -> None:
    reply = await ask("bytes=0-0", path=MANIFEST)
    assert (reply.status, reply["docker-content-digest"]) == (200, DIGEST)
    assert reply["content-length"] == str(len(reply.body))
