"""Contents come back exactly as they were pushed, whole or in part."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from ociserver import Backend, ByteRange, Descriptor, File, Manifest
from ociserver.testing.contract.capabilities import Subject
from ociserver.testing.contract.contents import (
    BINARY,
    IMAGE,
    REPOSITORY,
    digest_of,
    pieces_of,
    push_blob,
    push_image,
    read_blob,
)
from ociserver.testing.contract.errors import refused

TEXT = b"0123456789"


READS: dict[str, tuple[Callable[[Backend, str], Awaitable[Any]], str]] = {
    "get_blob": (lambda backend, name: backend.get_blob(name, digest_of(b"?")), "BLOB_UNKNOWN"),
    "get_manifest": (lambda backend, name: backend.get_manifest(name, digest_of(b"?")), "MANIFEST_UNKNOWN"),
    "get_tag": (lambda backend, name: backend.get_tag(name, "unknown"), "MANIFEST_UNKNOWN"),
    "resolve_blob": (lambda backend, name: backend.resolve_blob(name, digest_of(b"?")), "BLOB_UNKNOWN"),
    "resolve_manifest": (lambda backend, name: backend.resolve_manifest(name, digest_of(b"?")), "MANIFEST_UNKNOWN"),
    "resolve_tag": (lambda backend, name: backend.resolve_tag(name, "unknown"), "MANIFEST_UNKNOWN"),
}


class Reading:
    """Contents come back exactly as they were pushed, whole or in part."""

    pytestmark = pytest.mark.anyio

    async def test_a_blob_is_what_was_pushed(self, subject: Subject) -> None:
        digest = await push_blob(subject.filled, TEXT)
        async with aclosing(await subject.backend.get_blob(REPOSITORY, digest)) as reader:
            assert reader.descriptor == Descriptor(BINARY, digest, len(TEXT))
            assert reader.range == (0, len(TEXT))
            assert b"".join([piece async for piece in reader]) == TEXT

    async def test_a_blob_of_many_pieces(self, subject: Subject) -> None:
        pieces = [bytes([number]) * (number * 4000 + 1) for number in range(40)]
        content = b"".join(pieces)
        digest = digest_of(content)
        await subject.filled.push_blob(REPOSITORY, Descriptor(BINARY, digest, len(content)), pieces_of(*pieces))
        assert await read_blob(subject.backend, digest) == content
        # Ends of pieces are where an implementation by pieces goes wrong.
        start = sum(map(len, pieces[:20]))
        stop = sum(map(len, pieces[:25]))
        for first, last in [(start, stop - 1), (start - 1, stop), (start + 1, start + 1), (stop, None), (0, start)]:
            end = None if last is None else last + 1
            assert await read_blob(subject.backend, digest, ByteRange(first, last)) == content[first:end]

    async def test_an_empty_blob(self, subject: Subject) -> None:
        digest = await push_blob(subject.filled, b"")
        assert await read_blob(subject.backend, digest) == b""
        assert (await subject.backend.resolve_blob(REPOSITORY, digest)).size == 0

    @pytest.mark.parametrize(
        "first, last, wanted",
        [
            (0, 0, b"0"),
            (0, 9, TEXT),
            (2, 4, b"234"),
            (9, 9, b"9"),
            (5, None, b"56789"),
            (0, None, TEXT),
            # RFC 9110, 14.1.2: a last position beyond the end means the end.
            (7, 1000, b"789"),
            (None, 3, b"789"),
            # The same: a suffix that is longer than the content is the whole content.
            (None, 1000, TEXT),
        ],
    )
    async def test_a_range(self, subject: Subject, first: int | None, last: int | None, wanted: bytes) -> None:
        digest = await push_blob(subject.filled, TEXT)
        async with aclosing(await subject.backend.get_blob(REPOSITORY, digest, ByteRange(first, last))) as reader:
            start = TEXT.index(wanted)
            assert reader.range == (start, start + len(wanted))
            assert reader.descriptor.size == len(TEXT)
            assert b"".join([piece async for piece in reader]) == wanted

    @pytest.mark.parametrize(
        "content, range",
        [
            (TEXT, ByteRange(10, None)),
            (TEXT, ByteRange(10, 20)),
            (TEXT, ByteRange(2**62, None)),
            (TEXT, ByteRange(None, 0)),
            (b"", ByteRange(0, 0)),
            (b"", ByteRange(0, None)),
            (b"", ByteRange(None, 5)),
        ],
    )
    async def test_a_range_outside_the_blob_names_its_size(
        self, subject: Subject, content: bytes, range: ByteRange
    ) -> None:
        digest = await push_blob(subject.filled, content)
        with refused("RANGE_INVALID") as caught:
            await subject.backend.get_blob(REPOSITORY, digest, range)
        assert caught.value.detail["size"] == len(content)

    async def test_a_reader_may_be_left_early_and_closed_twice(self, subject: Subject) -> None:
        digest = await push_blob(subject.filled, bytes(3_000_000))
        reader = await subject.backend.get_blob(REPOSITORY, digest)
        async for piece in reader:
            assert piece
            break
        await reader.aclose()
        await reader.aclose()
        unread = await subject.backend.get_blob(REPOSITORY, digest)
        await unread.aclose()
        assert len(await read_blob(subject.backend, digest)) == 3_000_000

    async def test_a_location_holds_the_same_bytes(self, subject: Subject) -> None:
        content = os.urandom(300_000)
        digest = await push_blob(subject.filled, content)
        async with aclosing(await subject.backend.get_blob(REPOSITORY, digest, ByteRange(1000, 250_000))) as reader:
            if isinstance(reader.location, File):
                place = reader.location
                assert os.pread(place.descriptor, place.length, place.offset) == content[1000:250_001]
            assert b"".join([piece async for piece in reader]) == content[1000:250_001]

    async def test_readers_do_not_disturb_each_other(self, subject: Subject) -> None:
        content = bytes(range(256)) * 8000
        digest = await push_blob(subject.filled, content)
        async with (
            aclosing(await subject.backend.get_blob(REPOSITORY, digest)) as one,
            aclosing(await subject.backend.get_blob(REPOSITORY, digest, ByteRange(7, None))) as two,
        ):
            ones, twos = aiter(one), aiter(two)
            first_one, first_two = await anext(ones), await anext(twos)
            assert first_one + b"".join([piece async for piece in ones]) == content
            assert first_two + b"".join([piece async for piece in twos]) == content[7:]

    async def test_a_manifest_is_what_was_pushed(self, subject: Subject) -> None:
        content = await push_image(subject.filled, "latest")
        digest = digest_of(content)
        wanted = Manifest(Descriptor(IMAGE, digest, len(content)), content)
        assert await subject.backend.get_manifest(REPOSITORY, digest) == wanted
        assert await subject.backend.get_tag(REPOSITORY, "latest") == wanted
        assert await subject.backend.resolve_manifest(REPOSITORY, digest) == wanted.descriptor
        assert await subject.backend.resolve_tag(REPOSITORY, "latest") == wanted.descriptor

    async def test_resolving_a_blob_describes_it(self, subject: Subject) -> None:
        digest = await push_blob(subject.filled, TEXT)
        assert await subject.backend.resolve_blob(REPOSITORY, digest) == Descriptor(BINARY, digest, len(TEXT))

    @pytest.mark.parametrize("method", READS)
    async def test_an_unknown_repository(self, subject: Subject, method: str) -> None:
        read, code = READS[method]
        # The answer to a HEAD has no body that could tell.
        with refused(code if subject.can.remote and method.startswith("resolve") else "NAME_UNKNOWN"):
            await read(subject.backend, "no/such")

    @pytest.mark.parametrize("method", READS)
    async def test_an_unknown_content(self, subject: Subject, method: str) -> None:
        await push_image(subject.filled, "known")
        read, code = READS[method]
        with refused(code):
            await read(subject.backend, REPOSITORY)

    async def test_blobs_and_manifests_are_kept_apart(self, subject: Subject) -> None:
        content = await push_image(subject.filled)
        config = digest_of(b"{}")
        with refused("BLOB_UNKNOWN"):
            await subject.backend.resolve_blob(REPOSITORY, digest_of(content))
        with refused("MANIFEST_UNKNOWN"):
            await subject.backend.resolve_manifest(REPOSITORY, config)

    async def test_repositories_are_kept_apart(self, subject: Subject) -> None:
        content = await push_image(subject.filled, "latest")
        await push_blob(subject.filled, b"other", "other")
        with refused("BLOB_UNKNOWN"):
            await subject.backend.get_blob("other", digest_of(b"{}"))
        with refused("MANIFEST_UNKNOWN"):
            await subject.backend.get_manifest("other", digest_of(content))
        with refused("MANIFEST_UNKNOWN"):
            await subject.backend.get_tag("other", "latest")
