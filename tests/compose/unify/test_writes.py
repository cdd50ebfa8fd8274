"""Writes go to all registries; and the state of the registries if one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from ociserver import UNKNOWN_SIZE, Backend, Descriptor, Handler, Memory, OCIError, RegistryError
from ociserver.compose import ReadOnly, Unify
from ociserver.errors import marshal_error
from tests.compose.unify.broken import failing, slow
from tests.contract.contents import (
    BINARY,
    REPOSITORY,
    digest_of,
    pieces_of,
    push_blob,
    push_manifest,
    read_blob,
    tags_of,
)
from tests.contract.errors import code_of, refused
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

PLAIN = "text/plain"
DIGEST = digest_of(b"text")

WRITES: dict[str, Callable[[Backend], Awaitable[Any]]] = {
    "push_blob": lambda backend: push_blob(backend, b"text"),
    "push_manifest": lambda backend: push_manifest(backend, b"text", PLAIN, "latest"),
    "mount_blob": lambda backend: backend.mount_blob("source", REPOSITORY, digest_of(b"other")),
}
HAS: dict[str, Callable[[Backend], Awaitable[Any]]] = {
    "push_blob": lambda backend: backend.resolve_blob(REPOSITORY, DIGEST),
    "push_manifest": lambda backend: backend.resolve_tag(REPOSITORY, "latest"),
    "mount_blob": lambda backend: backend.resolve_blob(REPOSITORY, digest_of(b"other")),
}


DELETIONS: dict[str, Callable[[Backend], Awaitable[Any]]] = {
    "delete_blob": lambda backend: backend.delete_blob(REPOSITORY, DIGEST),
    "delete_manifest": lambda backend: backend.delete_manifest(REPOSITORY, DIGEST),
    "delete_tag": lambda backend: backend.delete_tag(REPOSITORY, "latest"),
}


async def three() -> list[Memory]:
    backends = [Memory() for _ in range(3)]
    for backend in backends:
        await push_blob(backend, b"other", "source")
    return backends


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_reaches_all(method: str) -> None:
    backends = await three()
    await WRITES[method](Unify(*backends))
    for backend in backends:
        await HAS[method](backend)


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_reaches_only_the_first(method: str) -> None:
    first, second, _ = await three()
    await WRITES[method](Unify(first, ReadOnly(second), writes="first"))
    await HAS[method](first)
    with refused("NAME_UNKNOWN"):
        await HAS[method](second)


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("broken", [0, 1, 2])
async def test_a_repetition_repairs_a_write_that_failed_in_part(method: str, broken: int) -> None:
    backends = await three()
    working = getattr(backends[broken], method)
    failing(backends[broken], method, OCIError("TOOMANYREQUESTS", headers={"Retry-After": "7"}))
    with refused("TOOMANYREQUESTS") as caught:
        await WRITES[method](Unify(*backends))
    wire = marshal_error(caught.value)
    assert (wire.status, wire.headers) == (429, {"Retry-After": "7"})
    assert f"registry {broken + 1} of 3 failed where another did not" in wire.message
    for number, each in enumerate(backends):
        assert (await code_of(HAS[method](each)) is None) == (number != broken)
    setattr(backends[broken], method, working)
    await WRITES[method](Unify(*backends))
    await HAS[method](backends[broken])


@pytest.mark.parametrize("method", WRITES)
async def test_an_error_without_a_code(method: str) -> None:
    backends = await three()
    failing(backends[1], method, ConnectionError("10.0.0.7 is down"))
    with pytest.raises(RegistryError, match="registry 2 of 3 failed where another did not") as caught:
        await WRITES[method](Unify(*backends))
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert marshal_error(caught.value).status == 500


@pytest.mark.parametrize("method", WRITES)
async def test_all_fail(method: str) -> None:
    backends = [failing(each, method, OCIError("DENIED", f"by {n}")) for n, each in enumerate(await three(), 1)]
    with refused("DENIED") as caught:
        await WRITES[method](Unify(*backends))
    assert caught.value.message == "by 1"


async def test_a_mount_that_only_some_can_do_becomes_an_upload() -> None:
    one, two, _ = await three()
    await one.delete_blob("source", digest_of(b"other"))
    application = Handler(Unify(one, two))
    target = f"/v2/{REPOSITORY}/blobs/uploads/?mount={digest_of(b'other')}&from=source"
    reply = await request(application, "POST", target)
    assert reply.status == 202
    reply = await request(application, "PUT", f"{reply['location']}?digest={digest_of(b'other')}", b"other")
    assert reply.status == 201
    assert await read_blob(one, digest_of(b"other")) == await read_blob(two, digest_of(b"other")) == b"other"


@pytest.mark.parametrize("method", ["push_manifest", "mount_blob", "delete_tag"])
async def test_a_cancelled_write_is_finished_everywhere(method: str) -> None:
    """The caller is cancelled in the middle of a write. The registries must not diverge."""
    one, two, _ = await three()
    for each in (one, two):
        await push_manifest(each, b"text", PLAIN, "latest")
    backend = Unify(one, slow(two, method))
    write = WRITES.get(method, DELETIONS.get(method))
    assert write
    task = asyncio.ensure_future(write(backend))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if method == "delete_tag":
        assert await tags_of(one) == await tags_of(two) == []
    else:
        await HAS[method](one)
        await HAS[method](two)


async def test_tags_are_set_in_one_order() -> None:
    one, two = slow(Memory(), "push_manifest", 0.001), Memory()
    backend = Unify(one, two)
    contents = [f"text {number}".encode() for number in range(20)]
    await asyncio.gather(*(push_manifest(backend, content, PLAIN, "latest") for content in contents))
    assert (await one.get_tag(REPOSITORY, "latest")) == (await two.get_tag(REPOSITORY, "latest"))


# Deletions


async def holding() -> Memory:
    backend = Memory()
    await push_blob(backend, b"text")
    await push_manifest(backend, b"text", PLAIN, "latest")
    return backend


@pytest.mark.parametrize("method", DELETIONS)
async def test_a_content_of_one_registry_can_be_deleted(method: str) -> None:
    for empty in (Memory(), await holding()):
        one, two = await holding(), empty
        await code_of(DELETIONS[method](two))
        backend = Unify(two, one)
        await DELETIONS[method](backend)
        with refused("BLOB_UNKNOWN", "MANIFEST_UNKNOWN"):
            await DELETIONS[method](backend)


@pytest.mark.parametrize("method", DELETIONS)
async def test_a_deletion_that_one_registry_refuses(method: str) -> None:
    one, two = await holding(), failing(await holding(), method)
    with refused("DENIED"):
        await DELETIONS[method](Unify(one, two))
    with refused("BLOB_UNKNOWN", "MANIFEST_UNKNOWN"):
        await DELETIONS[method](one)


# Blobs in one request


async def test_a_stream_has_the_speed_of_the_slowest() -> None:
    """So at most three pieces for each registry are in memory: one waits, one is on its way, one was just taken."""
    given, taken = 0, 0
    ahead: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(50):
            given += 1
            ahead.append(given - taken)
            yield bytes(1000)

    class Slow(Memory):
        async def push_blob(self, repository: str, descriptor: Descriptor, chunks: Any) -> Descriptor:
            async def slowly() -> AsyncIterator[bytes]:
                nonlocal taken
                async for piece in chunks:
                    await asyncio.sleep(0.001)
                    taken += 1
                    yield piece

            return await super().push_blob(repository, descriptor, slowly())

    backends = [Memory(), Slow()]
    digest = digest_of(bytes(50_000))
    await Unify(*backends).push_blob(REPOSITORY, Descriptor(BINARY, digest, 50_000), pieces())
    assert max(ahead) <= 3
    for backend in backends:
        assert await read_blob(backend, digest) == bytes(50_000)


async def test_a_failed_stream_leaves_nothing() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"te"
        raise ConnectionResetError("the client went away")

    backends = [Memory(), Memory()]
    with pytest.raises(ConnectionResetError):
        await Unify(*backends).push_blob(REPOSITORY, Descriptor(BINARY, DIGEST, UNKNOWN_SIZE), broken())
    assert [backend.content_bytes for backend in backends] == [0, 0]


async def test_a_refusal_in_the_middle_aborts_the_others() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield bytes(1000)

    small, large = Memory(max_bytes=10_000), Memory()
    with refused("UNKNOWN") as caught:
        await Unify(large, small).push_blob(REPOSITORY, Descriptor(BINARY, DIGEST, UNKNOWN_SIZE), endless())
    assert caught.value.status == 507
    assert read < 20
    assert (small.content_bytes, large.content_bytes) == (0, 0)


async def test_a_registry_that_does_not_need_the_bytes() -> None:
    """The registry already has the blob, and says so after the first piece."""

    class Knowing(Memory):
        async def push_blob(self, repository: str, descriptor: Descriptor, chunks: Any) -> Descriptor:
            async for _ in chunks:
                break
            return descriptor

    other = Memory()
    pieces = [bytes([number]) * 1000 for number in range(30)]
    digest = digest_of(b"".join(pieces))
    await Unify(Knowing(), other).push_blob(REPOSITORY, Descriptor(BINARY, digest, UNKNOWN_SIZE), pieces_of(*pieces))
    assert await read_blob(other, digest) == b"".join(pieces)


async def test_a_push_that_is_cancelled_cancels_all() -> None:
    async def hanging() -> AsyncIterator[bytes]:
        yield b"te"
        await asyncio.sleep(60)

    backends = [Memory(), Memory()]
    push = Unify(*backends).push_blob(REPOSITORY, Descriptor(BINARY, DIGEST, UNKNOWN_SIZE), hanging())
    task = asyncio.ensure_future(push)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [backend.content_bytes for backend in backends] == [0, 0]
