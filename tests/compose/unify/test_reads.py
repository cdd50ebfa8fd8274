"""Which registry a content is read from, and the error if no registry has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

import pytest

from ociserver import Backend, ByteRange, Handler, Memory, OCIError
from ociserver.compose import Unify
from tests.compose.unify.broken import failing, recording, slow
from tests.contract.contents import REPOSITORY, digest_of, push_blob, push_manifest, read_blob
from tests.contract.errors import refused
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

PLAIN = "text/plain"
DIGEST = digest_of(b"text")
READS = pytest.mark.parametrize("reads", ["sequential", "concurrent"])

Reads = Literal["sequential", "concurrent"]


async def holding(*contents: bytes) -> Memory:
    """A registry with these contents as blobs and as manifests. The last one has the tag `latest`."""
    backend = Memory()
    for content in contents:
        await push_blob(backend, content)
        await push_manifest(backend, content, PLAIN, "latest")
    return backend


@READS
async def test_contents_of_all_registries(reads: Reads) -> None:
    contents = [b"one", b"two", b"three"]
    backend = Unify(*[await holding(content) for content in contents], reads=reads)
    for content in contents:
        assert await read_blob(backend, digest_of(content)) == content
        assert await read_blob(backend, digest_of(content), ByteRange(1, 1)) == content[1:2]
        assert (await backend.resolve_blob(REPOSITORY, digest_of(content))).size == len(content)
        assert (await backend.get_manifest(REPOSITORY, digest_of(content))).content == content
        assert (await backend.resolve_manifest(REPOSITORY, digest_of(content))).size == len(content)


async def test_a_registry_is_asked_only_if_all_before_it_fail() -> None:
    calls: list[str] = []
    one = recording(await holding(b"text"), "resolve_blob", calls, "one")
    two = recording(await holding(b"text", b"other"), "resolve_blob", calls, "two")
    backend = Unify(one, two)
    await backend.resolve_blob(REPOSITORY, DIGEST)
    assert calls == ["one"]
    await backend.resolve_blob(REPOSITORY, digest_of(b"other"))
    assert calls == ["one", "one", "two"]


@READS
@pytest.mark.parametrize("error", [OCIError("TOOMANYREQUESTS"), ConnectionError("it is down")])
async def test_a_registry_that_fails_is_skipped(reads: Reads, error: Exception) -> None:
    backend = Unify(failing(await holding(b"text"), "get_blob", error), await holding(b"text"), reads=reads)
    assert await read_blob(backend, DIGEST) == b"text"


@READS
@pytest.mark.parametrize(
    "codes, told",
    [
        # A registry that is down may have the content. So the answer must not be that it does not exist.
        (["BLOB_UNKNOWN", "TOOMANYREQUESTS"], "TOOMANYREQUESTS"),
        (["TOOMANYREQUESTS", "BLOB_UNKNOWN"], "TOOMANYREQUESTS"),
        (["NAME_UNKNOWN", "BLOB_UNKNOWN"], "BLOB_UNKNOWN"),
        (["BLOB_UNKNOWN", "NAME_UNKNOWN"], "BLOB_UNKNOWN"),
        (["NAME_UNKNOWN", "NAME_UNKNOWN"], "NAME_UNKNOWN"),
        (["UNAUTHORIZED", "TOOMANYREQUESTS"], "UNAUTHORIZED"),
    ],
)
async def test_the_error_if_all_fail(reads: Reads, codes: list[str], told: str) -> None:
    backends = [failing(Memory(), "get_blob", OCIError(code)) for code in codes]
    with refused(told):
        await Unify(*backends, reads=reads).get_blob(REPOSITORY, DIGEST)


@READS
async def test_a_registry_that_is_down_is_not_a_404(reads: Reads) -> None:
    backend = Unify(Memory(), failing(Memory(), "get_blob", ConnectionError("it is down")), reads=reads)
    with pytest.raises(ConnectionError):
        await backend.get_blob(REPOSITORY, DIGEST)


async def test_the_fastest_wins_and_the_others_are_cancelled() -> None:
    cancelled = asyncio.Event()

    class Hanging(Memory):
        async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

    backend = Unify(Hanging(), slow(await holding(b"text"), "get_blob"), reads="concurrent")
    assert await read_blob(backend, DIGEST) == b"text"
    assert cancelled.is_set()


async def test_a_late_reader_is_closed() -> None:
    """A reader that can no longer be cancelled. Its file or connection must not stay open."""
    closed: list[str] = []

    class Stubborn(Memory):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Any:
            reader = await super().get_blob(repository, digest, range)
            close = reader.aclose

            async def aclose() -> None:
                closed.append(self.name)
                await close()

            return _Closing(reader, aclose)

    class _Closing:
        def __init__(self, reader: Any, aclose: Any) -> None:
            self._reader = reader
            self.aclose = aclose

        def __aiter__(self) -> AsyncIterator[bytes]:
            return aiter(self._reader)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._reader, name)

    one, two = Stubborn("one"), Stubborn("two")
    for each in (one, two):
        await push_blob(each, b"text")
    # Both answer in the same iteration of the event loop.
    async with aclosing(await Unify(one, two, reads="concurrent").get_blob(REPOSITORY, DIGEST)) as reader:
        assert len(closed) == 1
        assert reader.descriptor.digest == DIGEST
    assert sorted(closed) == ["one", "two"]


async def test_cancelling_the_caller_cancels_all() -> None:
    cancelled: list[str] = []

    class Hanging(Memory):
        async def resolve_blob(self, repository: str, digest: str) -> Any:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append("one")
                raise

    task = asyncio.ensure_future(Unify(Hanging(), Hanging(), reads="concurrent").resolve_blob(REPOSITORY, DIGEST))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == ["one", "one"]


async def test_tags_that_agree() -> None:
    backend = Unify(await holding(b"text"), await holding(b"text"))
    assert (await backend.get_tag(REPOSITORY, "latest")).content == b"text"
    assert (await backend.resolve_tag(REPOSITORY, "latest")).digest == DIGEST


async def test_tags_that_disagree() -> None:
    backend = Unify(await holding(b"text"), await holding(b"other"))
    for ask in (backend.get_tag, backend.resolve_tag):
        with refused("UNKNOWN") as caught:
            await ask(REPOSITORY, "latest")
        assert caught.value.detail == [DIGEST, digest_of(b"other")]
    reply = await request(Handler(backend), "GET", f"/v2/{REPOSITORY}/manifests/latest")
    assert (reply.status, reply.message) == (409, "the registries disagree about tag latest")


@pytest.mark.parametrize("broken", [0, 1])
@pytest.mark.parametrize("error", [OCIError("MANIFEST_UNKNOWN"), ConnectionError("it is down")])
async def test_a_tag_that_one_registry_cannot_resolve(broken: int, error: Exception) -> None:
    backends: list[Backend] = [await holding(b"text"), await holding(b"text")]
    failing(backends[broken], "get_tag", error)
    assert (await Unify(*backends).get_tag(REPOSITORY, "latest")).content == b"text"


async def test_a_tag_that_no_registry_can_resolve() -> None:
    backend = Unify(await holding(b"text"), failing(Memory(), "get_tag", OCIError("TOOMANYREQUESTS")))
    with refused("TOOMANYREQUESTS"):
        await backend.get_tag(REPOSITORY, "unknown")


async def test_a_tag_during_a_push() -> None:
    """One registry has set the tag and the other has not yet. That is not a disagreement."""
    one, two = await holding(b"old"), slow(await holding(b"old"), "push_manifest")
    backend = Unify(one, two)
    push = asyncio.ensure_future(push_manifest(backend, b"new", PLAIN, "latest"))
    await asyncio.sleep(0.01)
    assert (await one.resolve_tag(REPOSITORY, "latest")).digest == digest_of(b"new")
    assert (await two.resolve_tag(REPOSITORY, "latest")).digest == digest_of(b"old")
    assert (await backend.resolve_tag(REPOSITORY, "latest")).digest == digest_of(b"new")
    await push


async def test_a_tag_of_the_first_registry_hides_others() -> None:
    one, two = await holding(b"mine"), await holding(b"theirs")
    await push_manifest(two, b"only theirs", PLAIN, "other")
    backend = Unify(one, two, writes="first")
    assert (await backend.get_tag(REPOSITORY, "latest")).content == b"mine"
    assert (await backend.get_tag(REPOSITORY, "other")).content == b"only theirs"
    await backend.delete_tag(REPOSITORY, "latest")
    assert (await backend.get_tag(REPOSITORY, "latest")).content == b"theirs"
