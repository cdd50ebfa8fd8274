"""Many tasks use the same contents. What was acknowledged can be read, and only errors with codes are raised."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from ociserver import Backend, OCIError
from ociserver.testing.contract.capabilities import needs
from ociserver.testing.contract.contents import (
    IMAGE,
    REPOSITORY,
    collect,
    descriptor,
    digest_of,
    image,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
    tags_of,
)
from ociserver.testing.contract.errors import code_of

PLAIN = "text/plain"
TASKS = 12
ROUNDS = 8

GONE = frozenset({None, "BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"})


async def unless_gone(work: Awaitable[object]) -> None:
    """A content may be missing because another task has deleted it. No other error is allowed."""
    assert await code_of(work) in GONE


async def shuffled(works: list[Callable[[], Awaitable[object]]], seed: int) -> None:
    """Run them all, in an order and with pauses that depend on the seed."""
    chance = random.Random(seed)
    chance.shuffle(works)
    for work in works:
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        await unless_gone(work())


class Concurrency:
    """Many tasks use the same contents. What was acknowledged can be read, and only errors with codes are raised."""

    pytestmark = pytest.mark.anyio

    @needs("mounts")
    async def test_the_same_blob_pushed_and_deleted(self, backend: Backend) -> None:
        content = bytes(range(256)) * 600
        digest = digest_of(content)

        async def read() -> None:
            assert await read_blob(backend, digest) == content

        async def mount() -> None:
            # Of a registry elsewhere a blob that is gone is one that it cannot mount.
            assert await code_of(backend.mount_blob(REPOSITORY, "other", digest)) in GONE | {"UNSUPPORTED"}

        def works() -> list[Callable[[], Awaitable[object]]]:
            return [
                lambda: push_blob(backend, content),
                lambda: backend.delete_blob(REPOSITORY, digest),
                mount,
                lambda: backend.delete_blob("other", digest),
                read,
            ] * ROUNDS

        await asyncio.gather(*(shuffled(works(), seed) for seed in range(TASKS)))
        await push_blob(backend, content)
        await read()

    @needs("lists")
    async def test_the_same_tag_pushed_and_deleted(self, backend: Backend) -> None:
        contents = [f"text {number}".encode() for number in range(4)]

        async def read() -> None:
            manifest = await backend.get_tag(REPOSITORY, "latest")
            assert manifest.content in contents
            assert manifest.descriptor.digest == digest_of(manifest.content)

        def works() -> list[Callable[[], Awaitable[object]]]:
            made: list[Callable[[], Awaitable[object]]] = [read, lambda: backend.delete_tag(REPOSITORY, "latest")]
            for content in contents:
                made.append(lambda content=content: push_manifest(backend, content, PLAIN, "latest", "other"))  # type: ignore[misc]
                made.append(lambda content=content: backend.delete_manifest(REPOSITORY, digest_of(content)))  # type: ignore[misc]
            return made * (ROUNDS // 2)

        await asyncio.gather(*(shuffled(works(), seed) for seed in range(TASKS)))
        for tag in await tags_of(backend):
            assert (await backend.get_tag(REPOSITORY, tag)).content in contents

    async def test_an_image_is_never_there_without_its_blobs(self, backend: Backend) -> None:
        """A strict push beside deletions of its blobs: each of them happens before or after, and not in between."""
        content = image(b"config", b"layer")

        async def push() -> None:
            await push_blob(backend, b"config")
            await push_blob(backend, b"layer")
            await push_manifest(backend, content, IMAGE, "latest")

        def works() -> list[Callable[[], Awaitable[object]]]:
            return [
                push,
                lambda: backend.delete_blob(REPOSITORY, digest_of(b"layer")),
                lambda: backend.delete_manifest(REPOSITORY, digest_of(content)),
            ] * ROUNDS

        await asyncio.gather(*(shuffled(works(), seed) for seed in range(TASKS)))
        await push()
        assert (await backend.get_tag(REPOSITORY, "latest")).content == content

    async def test_uploads_of_the_same_content(self, writable: Backend) -> None:
        content = bytes(range(256)) * 1000
        digest = digest_of(content)

        async def upload(piece: int) -> None:
            writer = await writable.push_blob_chunked(REPOSITORY)
            for start in range(0, len(content), piece):
                await writer.write(content[start : start + piece])
            await writer.commit(digest)
            await writer.aclose()

        await asyncio.gather(*(upload(7000 * (number + 1)) for number in range(TASKS)))
        assert await read_blob(writable, digest) == content

    async def test_one_of_many_writers_wins_each_byte(self, writable: Backend) -> None:
        """All tasks try to append the same pieces to one upload. With an offset, each piece is accepted once."""
        pieces = [bytes([number]) * (1000 * number + 1) for number in range(20)]
        upload = await writable.push_blob_chunked(REPOSITORY)
        await upload.aclose()

        async def append_all() -> None:
            offset = 0
            for piece in pieces:
                writer = await writable.push_blob_chunked_resume(REPOSITORY, upload.id, offset=offset)
                with suppress(OCIError):
                    await writer.write(piece)
                with suppress(OCIError):
                    await writer.aclose()
                offset += len(piece)
                await asyncio.sleep(0)

        await asyncio.gather(*(append_all() for _ in range(TASKS)))
        content = b"".join(pieces)
        writer = await writable.push_blob_chunked_resume(REPOSITORY, upload.id, offset=None)
        # Nobody may have got the last pieces in; whatever is missing goes on where it stopped.
        await writer.write(content[writer.size :])
        await writer.commit(digest_of(content))
        await writer.aclose()
        assert await read_blob(writable, digest_of(content)) == content

    @needs("lists", "referrers")
    async def test_lists_beside_writes(self, backend: Backend) -> None:
        subject = await push_image(backend)
        digest = digest_of(subject)

        async def write(number: int) -> None:
            referrer = await push_image(
                backend, f"tag-{number}", subject=descriptor(IMAGE, subject), annotations={"number": str(number)}
            )
            if number % 2:
                await backend.delete_manifest(REPOSITORY, digest_of(referrer))

        async def read() -> None:
            for _ in range(ROUNDS):
                tags = await tags_of(backend)
                assert tags == sorted(tags)
                names = await collect(backend.repositories())
                assert names == sorted(names)
                referrers = [entry.digest for entry in await collect(backend.referrers(REPOSITORY, digest))]
                assert referrers == sorted(referrers)
                await asyncio.sleep(0)

        await asyncio.gather(*(write(number) for number in range(40)), *(read() for _ in range(4)))
        assert len(await tags_of(backend)) == 20
        assert len(await collect(backend.referrers(REPOSITORY, digest))) == 20
