"""What only the memory backend has: a bound on its size, and uploads that time out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from ociserver import UNKNOWN_SIZE, Descriptor, Memory, OCIError
from tests.contract.contents import (
    BINARY,
    IMAGE,
    REPOSITORY,
    collect,
    descriptor,
    digest_of,
    image,
    pieces_of,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
)
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

PLAIN = "text/plain"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("settings", [{"max_bytes": -1}, {"upload_timeout_s": 0}, {"upload_timeout_s": float("nan")}])
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Memory(**settings)


# Size


async def test_every_content_is_counted_once() -> None:
    backend = Memory()
    await push_blob(backend, b"x" * 100, "one")
    await push_blob(backend, b"x" * 100, "two")
    await backend.mount_blob("one", "three", digest_of(b"x" * 100))
    assert backend.size_bytes == 100
    await push_manifest(backend, b"m" * 30, PLAIN, "a", "b")
    await push_manifest(backend, b"m" * 30, PLAIN, "c")
    assert backend.size_bytes == 130


async def test_what_is_deleted_is_given_back() -> None:
    backend = Memory()
    content = await push_image(backend, "latest", layers=[b"x" * 1000])
    await push_blob(backend, b"x" * 1000, "other")
    await backend.delete_blob(REPOSITORY, digest_of(b"x" * 1000))
    assert backend.size_bytes == len(content) + 2 + 1000
    await backend.delete_blob("other", digest_of(b"x" * 1000))
    await backend.delete_blob(REPOSITORY, digest_of(b"{}"))
    await backend.delete_manifest(REPOSITORY, digest_of(content))
    assert backend.size_bytes == 0


async def test_uploads_are_counted_until_they_end() -> None:
    backend = Memory()
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"x" * 70)
    await writer.aclose()
    assert backend.size_bytes == 70
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None)) as again:
        await again.write(b"y" * 30)
        assert backend.size_bytes == 100
        await again.cancel()
    assert backend.size_bytes == 0


@pytest.mark.parametrize("known", [True, False])
async def test_a_commit_counts_its_bytes_once(*, known: bool) -> None:
    backend = Memory()
    if known:
        await push_blob(backend, b"text")
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"text")
    await writer.commit(digest_of(b"text"))
    await writer.aclose()
    assert backend.size_bytes == 4


@pytest.mark.parametrize("wrong", ["digest", "size", "source"])
async def test_a_push_that_fails_gives_everything_back(wrong: str) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"text"
        raise ConnectionResetError

    backend = Memory()
    digest = digest_of(b"other" if wrong == "digest" else b"text")
    described = Descriptor(BINARY, digest, 9 if wrong == "size" else UNKNOWN_SIZE)
    with pytest.raises((OCIError, ConnectionResetError)):
        await backend.push_blob(REPOSITORY, described, broken() if wrong == "source" else pieces_of(b"text"))
    assert backend.size_bytes == 0


async def test_a_full_registry_says_so_and_keeps_what_it_has() -> None:
    backend = Memory(max_bytes=1000)
    kept = await push_blob(backend, b"x" * 900)
    for size in (UNKNOWN_SIZE, 101):
        with refused("UNKNOWN") as caught:
            await backend.push_blob(REPOSITORY, Descriptor(BINARY, digest_of(b"y" * 101), size), pieces_of(b"y" * 101))
        assert caught.value.status == 507
        assert "max_bytes" in caught.value.message
    with refused("UNKNOWN"):
        await push_manifest(backend, b"m" * 101, PLAIN, "latest")
    assert backend.size_bytes == 900
    assert await read_blob(backend, kept) == b"x" * 900
    # Up to the bound, exactly.
    await push_manifest(backend, b"m" * 100, PLAIN, "latest")
    assert backend.size_bytes == 1000


async def test_a_known_size_is_refused_before_the_first_byte() -> None:
    asked = False

    async def never() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b""

    with refused("UNKNOWN"):
        await Memory(max_bytes=10).push_blob(REPOSITORY, Descriptor(BINARY, digest_of(b""), 11), never())
    assert not asked


async def test_a_full_registry_lets_an_upload_go_on_when_there_is_room_again() -> None:
    backend = Memory(max_bytes=10)
    await push_blob(backend, b"x" * 6)
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"abcd")
    with refused("UNKNOWN"):
        await writer.write(b"e")
    assert writer.size == 4
    await backend.delete_blob(REPOSITORY, digest_of(b"x" * 6))
    await writer.write(b"e")
    await writer.commit(digest_of(b"abcde"))
    assert backend.size_bytes == 5


async def test_pushing_what_is_there_needs_no_room_for_good() -> None:
    backend = Memory(max_bytes=1000)
    await push_manifest(backend, b"m" * 1000, PLAIN, "one")
    await push_manifest(backend, b"m" * 1000, PLAIN, "two")
    assert backend.size_bytes == 1000


# Time


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    # In these modules only: the event loop keeps the real time.
    for module in ("backend", "upload"):
        monkeypatch.setattr(f"ociserver.memory.{module}.time", clock)
    return clock


async def suspended(backend: Memory, content: bytes = b"text") -> str:
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(content)
    await writer.aclose()
    return writer.id


async def test_an_upload_that_nobody_continues_is_forgotten(clock: Clock) -> None:
    backend = Memory(upload_timeout_s=60)
    upload_id = await suspended(backend)
    clock.now += 59
    kept = await suspended(backend, b"kept")
    clock.now += 2
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)
    assert backend.size_bytes == 4
    await (await backend.push_blob_chunked_resume(REPOSITORY, kept, offset=None)).aclose()


async def test_an_upload_that_goes_on_is_not(clock: Clock) -> None:
    backend = Memory(upload_timeout_s=60)
    upload_id = await suspended(backend)
    for _ in range(5):
        clock.now += 50
        async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
            await writer.write(b"!")
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
        await writer.commit(digest_of(b"text!!!!!"))


async def test_a_request_at_work_is_not_timed_out(clock: Clock) -> None:
    """However slowly: what counts begins when it ends."""
    backend = Memory(upload_timeout_s=60)
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"te")
    clock.now += 600
    await suspended(backend, b"other")
    await writer.write(b"xt")
    await writer.aclose()
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None)) as again:
        await again.commit(digest_of(b"text"))


async def test_a_full_registry_makes_room_of_forgotten_uploads(clock: Clock) -> None:
    backend = Memory(max_bytes=10, upload_timeout_s=60)
    await suspended(backend, b"x" * 10)
    with refused("UNKNOWN"):
        await push_blob(backend, b"text")
    clock.now += 61
    await push_blob(backend, b"text")
    assert backend.size_bytes == 4


async def test_asking_does_not_keep_what_is_not_there(clock: Clock) -> None:
    backend = Memory(upload_timeout_s=60)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await backend.push_blob_chunked_resume(REPOSITORY, "unknown", offset=None)
    assert await collect(backend.repositories()) == []


# Cost


async def test_an_upload_of_single_bytes_is_kept_in_few_pieces() -> None:
    """Each piece is an object of its own; a million of them would cost fifty times their bytes."""
    backend = Memory()
    writer = await backend.push_blob_chunked(REPOSITORY)
    content = bytes(range(256)) * 40
    for start in range(len(content)):
        await writer.write(content[start : start + 1])
    await writer.commit(digest_of(content))
    async with aclosing(await backend.get_blob(REPOSITORY, digest_of(content))) as reader:
        pieces = [piece async for piece in reader]
    assert b"".join(pieces) == content
    assert len(pieces) < 10


async def test_protection_of_a_long_chain_is_no_recursion() -> None:
    """A chain of subjects as long as somebody likes must not overflow a stack."""
    backend = Memory(immutable_tags=True)
    await push_blob(backend, b"{}")
    first = content = image(b"{}")
    await push_manifest(backend, content, IMAGE)
    for _ in range(3000):
        content = image(b"{}", subject=descriptor(IMAGE, content))
        await push_manifest(backend, content, IMAGE)
    await push_manifest(backend, content, IMAGE, "latest")
    with refused("DENIED"):
        await backend.delete_manifest(REPOSITORY, digest_of(first))


async def test_a_long_hash_leaves_the_event_loop_free() -> None:
    backend = Memory()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    await push_blob(backend, bytes(32 * 1024 * 1024))
    ticking.cancel()
    assert ticks > 1
