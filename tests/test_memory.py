"""What only the memory backend has: a bound on the memory that it takes, and uploads that time out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from random import Random
from typing import Any

import pytest

from ociserver import UNKNOWN_SIZE, Descriptor, Memory, OCIError
from ociserver.memory import costs
from ociserver.memory.repository import SortedNames
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
    tags_of,
)
from tests.contract.errors import refused

pytestmark = [pytest.mark.alone, pytest.mark.anyio]

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
    assert backend.content_bytes == 100
    await push_manifest(backend, b"m" * 30, PLAIN, "a", "b")
    await push_manifest(backend, b"m" * 30, PLAIN, "c")
    assert backend.content_bytes == 130


async def test_what_is_deleted_is_given_back() -> None:
    backend = Memory()
    content = await push_image(backend, "latest", layers=[b"x" * 1000])
    await push_blob(backend, b"x" * 1000, "other")
    await backend.delete_blob(REPOSITORY, digest_of(b"x" * 1000))
    assert backend.content_bytes == len(content) + 2 + 1000
    await backend.delete_blob("other", digest_of(b"x" * 1000))
    await backend.delete_blob(REPOSITORY, digest_of(b"{}"))
    await backend.delete_manifest(REPOSITORY, digest_of(content))
    assert backend.content_bytes == 0


async def test_uploads_are_counted_until_they_end() -> None:
    backend = Memory()
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"x" * 70)
    await writer.aclose()
    assert backend.content_bytes == 70
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None)) as again:
        await again.write(b"y" * 30)
        assert backend.content_bytes == 100
        await again.cancel()
    assert backend.content_bytes == 0


@pytest.mark.parametrize("known", [True, False])
async def test_a_commit_counts_its_bytes_once(*, known: bool) -> None:
    backend = Memory()
    if known:
        await push_blob(backend, b"text")
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"text")
    await writer.commit(digest_of(b"text"))
    await writer.aclose()
    assert backend.content_bytes == 4


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
    assert backend.content_bytes == 0


async def test_a_full_registry_says_so_and_keeps_what_it_has() -> None:
    records = costs.REPOSITORY + costs.BLOB + costs.LINK + costs.MANIFEST + costs.TAG
    backend = Memory(max_bytes=1000 + records)
    kept = await push_blob(backend, b"x" * 900)
    before = backend.size_bytes
    too_much = b"y" * (101 + costs.MANIFEST + costs.TAG)
    for size in (UNKNOWN_SIZE, len(too_much)):
        with refused("UNKNOWN") as caught:
            await backend.push_blob(REPOSITORY, Descriptor(BINARY, digest_of(too_much), size), pieces_of(too_much))
        assert caught.value.status == 507
        assert "max_bytes" in caught.value.message
    for repository in (REPOSITORY, "new"):
        with refused("UNKNOWN"):
            await push_manifest(backend, b"m" * 101, PLAIN, "latest", repository=repository)
    with refused("UNKNOWN"):
        await push_manifest(backend, b"m" * 100, PLAIN, "one", "two")
    assert backend.size_bytes == before
    assert await collect(backend.repositories()) == [REPOSITORY]
    assert await tags_of(backend) == []
    assert await read_blob(backend, kept) == b"x" * 900
    # Up to the bound, exactly.
    await push_manifest(backend, b"m" * 100, PLAIN, "latest")
    assert (backend.content_bytes, backend.size_bytes) == (1000, 1000 + records)


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
    backend = Memory(max_bytes=10 + costs.REPOSITORY + costs.BLOB + costs.LINK + costs.UPLOAD)
    await push_blob(backend, b"x" * 6)
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"abcd")
    with refused("UNKNOWN"):
        await writer.write(b"e")
    assert writer.size == 4
    await backend.delete_blob(REPOSITORY, digest_of(b"x" * 6))
    await writer.write(b"e")
    await writer.commit(digest_of(b"abcde"))
    assert backend.content_bytes == 5


async def test_pushing_what_is_there_needs_no_more_room() -> None:
    backend = Memory(max_bytes=1000 + costs.REPOSITORY + costs.MANIFEST + 2 * costs.TAG)
    await push_manifest(backend, b"m" * 1000, PLAIN, "one")
    await push_manifest(backend, b"m" * 1000, PLAIN, "two")
    await push_manifest(backend, b"m" * 1000, PLAIN, "one", "two")
    assert backend.content_bytes == 1000


async def test_an_upload_that_fitted_can_be_committed_in_a_full_registry() -> None:
    backend = Memory(max_bytes=10 + costs.REPOSITORY + costs.UPLOAD)
    writer = await backend.push_blob_chunked(REPOSITORY)
    await writer.write(b"x" * 10)
    for repository in (REPOSITORY, "new"):
        with refused("UNKNOWN") as caught:
            await backend.push_blob_chunked(repository)
        assert caught.value.status == 507
    await writer.commit(digest_of(b"x" * 10))
    assert await read_blob(backend, digest_of(b"x" * 10)) == b"x" * 10
    assert await collect(backend.repositories()) == [REPOSITORY]


async def test_a_mount_counts_too() -> None:
    backend = Memory(max_bytes=2 * costs.REPOSITORY + costs.BLOB + 2 * costs.LINK)
    await push_blob(backend, b"", "one")
    await backend.mount_blob("one", "two", digest_of(b""))
    for source in ("one", None):
        with refused("UNKNOWN"):
            await backend.mount_blob(source, "three", digest_of(b""))
    assert await collect(backend.repositories()) == ["one", "two"]


async def test_each_record_counts_until_it_goes() -> None:
    """Of what has no content at all, too: else a client could fill the memory with it."""
    backend = Memory(lax_child_references=True)
    await (await backend.push_blob_chunked(REPOSITORY)).cancel()
    assert backend.size_bytes == costs.REPOSITORY

    writer = await backend.push_blob_chunked(REPOSITORY)
    assert backend.size_bytes == costs.REPOSITORY + costs.UPLOAD
    await writer.commit(digest_of(b""))
    assert backend.size_bytes == costs.REPOSITORY + costs.BLOB + costs.LINK
    await backend.mount_blob(None, "other", digest_of(b""))
    assert backend.size_bytes == 2 * costs.REPOSITORY + costs.BLOB + 2 * costs.LINK
    await backend.delete_blob(REPOSITORY, digest_of(b""))
    await backend.delete_blob("other", digest_of(b""))
    assert backend.size_bytes == 2 * costs.REPOSITORY

    content = image(b"config", b"layer", b"layer", b"other layer")
    await push_manifest(backend, content, IMAGE, "one", "two", "three")
    held = len(content) + costs.MANIFEST + 3 * costs.REFERENCE
    assert backend.size_bytes == 2 * costs.REPOSITORY + held + 3 * costs.TAG
    await backend.delete_tag(REPOSITORY, "two")
    assert backend.size_bytes == 2 * costs.REPOSITORY + held + 2 * costs.TAG
    # A tag that moves stays one.
    await push_manifest(backend, b"{}", PLAIN, "one")
    assert backend.size_bytes == 2 * costs.REPOSITORY + held + 2 + costs.MANIFEST + 2 * costs.TAG
    await backend.delete_manifest(REPOSITORY, digest_of(content))
    await backend.delete_manifest(REPOSITORY, digest_of(b"{}"))
    assert backend.size_bytes == 2 * costs.REPOSITORY


async def test_what_a_list_of_referrers_shows_counts() -> None:
    """Two copies of the same annotations: one is never shown, as its manifest refers to nothing."""
    backend = Memory(lax_child_references=True)
    annotations = {f"key-{number}": "value" for number in range(1000)}
    plain = image(b"{}", annotations=annotations)
    await push_manifest(backend, plain, IMAGE)
    without = backend.size_bytes
    assert without == costs.REPOSITORY + len(plain) + costs.MANIFEST + costs.REFERENCE
    referrer = image(b"{}", annotations=annotations, subject=descriptor(IMAGE, b"{}"))
    await push_manifest(backend, referrer, IMAGE)
    # Its annotations are kept as JSON, beside the content.
    assert backend.size_bytes - without > len(referrer) + len(json.dumps(annotations, separators=(",", ":")))
    (listed,) = [entry async for entry in backend.referrers(REPOSITORY, digest_of(b"{}"))]
    assert listed.annotations == annotations
    await backend.delete_manifest(REPOSITORY, digest_of(referrer))
    assert backend.size_bytes == without


async def test_a_manifest_that_is_pushed_again_is_counted_once() -> None:
    backend = Memory(lax_child_references=True)
    content = image(b"config", b"layer")
    await push_manifest(backend, content, IMAGE, "a", "b")
    with refused("MANIFEST_INVALID"):
        await push_manifest(backend, content, PLAIN, "c")
    await push_manifest(backend, content, IMAGE, "c")
    await push_manifest(backend, content, IMAGE)
    await backend.delete_manifest(REPOSITORY, digest_of(content))
    assert backend.size_bytes == costs.REPOSITORY


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
    # In this module only: the event loop keeps the real time.
    monkeypatch.setattr("ociserver.memory.sessions.time", clock)
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
    assert backend.content_bytes == 4
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
    backend = Memory(max_bytes=10 + costs.REPOSITORY + costs.UPLOAD, upload_timeout_s=60)
    await suspended(backend, b"x" * 10)
    with refused("UNKNOWN"):
        await push_blob(backend, b"text")
    clock.now += 61
    await push_blob(backend, b"text")
    assert backend.content_bytes == 4


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


async def test_a_push_costs_the_same_however_many_tags_the_manifest_has() -> None:
    """It was 200 times as slow with 40,000 tags, since each push pointed all of them at the manifest again."""
    backend = Memory()

    async def push(number: int) -> float:
        tags = [f"{number:04}-{each:02}" for each in range(100)]
        began = time.perf_counter()
        await push_manifest(backend, b"{}", PLAIN, *tags)
        return time.perf_counter() - began

    took = [await push(number) for number in range(400)]
    assert min(took[-20:]) < 20 * min(took[:20])


def test_names_are_sorted_however_they_come_and_go() -> None:
    names, expected, random = SortedNames(), set[str](), Random(1)
    for turn in range(12_000):
        name = f"{random.randrange(6_000):04}"
        if name not in expected:
            names.add(name)
            expected.add(name)
        elif turn > 8_000 or random.random() < 0.3:
            names.remove(name)
            expected.remove(name)
        if turn % 500 == 0:
            ordered = sorted(expected)
            assert (len(names), bool(names)) == (len(ordered), bool(ordered))
            assert names.after("", len(ordered)) == ordered
            after = f"{random.randrange(6_000):04}"
            assert names.after(after, 1_500) == [each for each in ordered if each > after][:1_500]
    for name in sorted(expected):
        names.remove(name)
    assert (names.after("", 10), len(names), bool(names)) == ([], 0, False)


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
