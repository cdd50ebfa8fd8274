"""An upload is an upload in each registry, with the same size, or it has ended."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from ociserver import Backend, Memory, OCIError
from ociserver.compose import Unify
from ociserver.compose.unify.upload import decode_id, encode_id
from tests.compose.unify.broken import failing
from tests.contract.contents import REPOSITORY, digest_of, read_blob
from tests.contract.errors import code_of, refused

pytestmark = pytest.mark.anyio

TEXT = b"0123456789"


async def started(backend: Backend, content: bytes = TEXT) -> str:
    async with aclosing(await backend.push_blob_chunked(REPOSITORY)) as writer:
        await writer.write(content)
        return writer.id


async def resumes(backend: Backend, upload_id: str) -> str | None:
    return await code_of(backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None))


class Refusing(Memory):
    """A registry whose uploads raise this error in the named method."""

    def __init__(self, method: str, error: Exception | None = None) -> None:
        super().__init__()
        self._method, self._error = method, error

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> Any:
        return failing(await super().push_blob_chunked(repository), self._method, self._error)


async def test_both_have_the_blob() -> None:
    one, two = Memory(), Memory()
    backend = Unify(one, two)
    upload_id = await started(backend)
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=len(TEXT))) as writer:
        await writer.write(b"ab")
        await writer.commit(digest_of(TEXT + b"ab"))
    for each in (one, two):
        assert await read_blob(each, digest_of(TEXT + b"ab")) == TEXT + b"ab"


@pytest.mark.parametrize("broken", [0, 1])
async def test_an_upload_that_one_registry_does_not_start(broken: int) -> None:
    backends = [Memory(), Memory()]
    failing(backends[broken], "push_blob_chunked")
    with refused("DENIED"):
        await Unify(*backends).push_blob_chunked(REPOSITORY)


async def test_a_first_write_that_the_first_registry_refuses() -> None:
    one, two = Refusing("write", OCIError("RANGE_INVALID")), Memory()
    backend = Unify(one, two)
    writer = await backend.push_blob_chunked(REPOSITORY)
    with refused("RANGE_INVALID"):
        await writer.write(TEXT)
    await writer.aclose()
    assert two.content_bytes == 0
    assert await resumes(backend, writer.id) is None


async def test_a_write_that_fails_in_part_ends_the_upload() -> None:
    one, two = Memory(), Refusing("write")
    backend = Unify(one, two)
    async with aclosing(await backend.push_blob_chunked(REPOSITORY)) as writer:
        with refused("DENIED") as caught:
            await writer.write(TEXT)
        assert "registry 2 of 2" in caught.value.message
    assert await resumes(backend, writer.id) == "BLOB_UPLOAD_UNKNOWN"
    assert (one.content_bytes, two.content_bytes) == (0, 0)


async def test_a_commit_that_fails_in_part_ends_the_upload() -> None:
    one, two = Memory(), Refusing("commit")
    backend = Unify(one, two)
    async with aclosing(await backend.push_blob_chunked(REPOSITORY)) as writer:
        await writer.write(TEXT)
        with refused("DENIED"):
            await writer.commit(digest_of(TEXT))
    assert await resumes(backend, writer.id) == "BLOB_UPLOAD_UNKNOWN"
    assert await read_blob(one, digest_of(TEXT)) == TEXT
    assert two.content_bytes == 0


async def test_uploads_with_different_sizes() -> None:
    """This happens after a kill between two writes. The upload's size can be read, but it cannot be continued."""
    one, two = Memory(), Memory()
    backend = Unify(one, two)
    upload_id = await started(backend)
    async with aclosing(
        await two.push_blob_chunked_resume(REPOSITORY, decode_id(upload_id, 2)[1], offset=None)
    ) as other:
        await other.write(b"more")
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
        assert writer.size == len(TEXT)
        with refused("RANGE_INVALID") as caught:
            await writer.write(b"x")
        assert "[10, 14]" in caught.value.message
        with refused("RANGE_INVALID"):
            await writer.commit(digest_of(TEXT))
    assert (one.content_bytes, two.content_bytes) == (10, 14)


@pytest.mark.parametrize("broken", [0, 1])
async def test_an_upload_that_one_registry_has_forgotten(broken: int) -> None:
    backends = [Memory(), Memory()]
    backend = Unify(*backends)
    upload_id = await started(backend)
    own_id = decode_id(upload_id, 2)[broken]
    await (await backends[broken].push_blob_chunked_resume(REPOSITORY, own_id, offset=None)).cancel()
    assert await resumes(backend, upload_id) == "BLOB_UPLOAD_UNKNOWN"
    # The other registry's upload was closed: no lost writer holds it.
    rest = backends[1 - broken]
    again = await rest.push_blob_chunked_resume(REPOSITORY, decode_id(upload_id, 2)[1 - broken], offset=None)
    await again.write(b"x")


async def test_cancelling_an_upload_that_one_registry_has_forgotten() -> None:
    one, two = Memory(), Memory()
    writer = await Unify(one, two).push_blob_chunked(REPOSITORY)
    await writer.write(TEXT)
    await writer.cancel()
    assert (one.content_bytes, two.content_bytes) == (0, 0)


async def test_no_request_sees_one_registry_ahead_of_another() -> None:
    """Two requests write to one upload in turn. Each byte arrives once, and at the same place in both registries."""
    one, two = Memory(), Memory()
    backend = Unify(one, two)
    upload_id = await started(backend, b"")

    async def append(number: int) -> None:
        for _ in range(20):
            writer = await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)
            assert await code_of(writer.write(bytes([number]) * 70_000)) in (None, "RANGE_INVALID")
            await writer.aclose()
            await asyncio.sleep(0)

    await asyncio.gather(*(append(number) for number in range(3)))
    contents = []
    for each, own_id in zip((one, two), decode_id(upload_id, 2), strict=True):
        writer = await each.push_blob_chunked_resume(REPOSITORY, own_id, offset=None)
        contents.append(writer.size)
    assert contents[0] == contents[1] > 0


@pytest.mark.parametrize("ids", [["a"], ["a", "b"], ["https://example.com/v2/x?a=b", "", "é"]])
def test_ids_are_decoded(ids: list[str]) -> None:
    assert decode_id(encode_id(ids), len(ids)) == ids


@pytest.mark.parametrize(
    "upload_id",
    ["", "x", "é", "\udc80", encode_id(["a"]), encode_id(["a", "b", "c"]), "bnVsbA==", "WzEsMl0=", "W" * 100_000],
)
def test_invalid_ids(upload_id: str) -> None:
    with refused("BLOB_UPLOAD_UNKNOWN"):
        decode_id(upload_id, 2)
