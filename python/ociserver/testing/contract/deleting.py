"""A deletion takes effect at once, and deletes nothing else."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from ociserver import Backend
from ociserver.testing.contract.capabilities import needs
from ociserver.testing.contract.contents import (
    IMAGE,
    REPOSITORY,
    collect,
    descriptor,
    digest_of,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
    tags_of,
)
from ociserver.testing.contract.errors import refused

PLAIN = "text/plain"


class Deleting:
    """A deletion takes effect at once, and deletes nothing else."""

    pytestmark = pytest.mark.anyio

    async def test_a_blob(self, backend: Backend) -> None:
        digest = await push_blob(backend, b"text")
        await backend.delete_blob(REPOSITORY, digest)
        for read in (backend.get_blob, backend.resolve_blob, backend.delete_blob):
            with refused("BLOB_UNKNOWN"):
                await read(REPOSITORY, digest)
        await push_blob(backend, b"text")
        assert await read_blob(backend, digest) == b"text"

    @needs("mounts")
    @pytest.mark.parametrize("content", [b"text", bytes(2_000_000)])
    async def test_a_blob_stays_in_other_repositories(self, backend: Backend, content: bytes) -> None:
        digest = await push_blob(backend, content, "one")
        await push_blob(backend, content, "two")
        await backend.mount_blob("one", "three", digest)
        await backend.delete_blob("one", digest)
        assert await read_blob(backend, digest, repository="two") == content
        await backend.delete_blob("two", digest)
        assert await read_blob(backend, digest, repository="three") == content
        await backend.delete_blob("three", digest)
        for repository in ("one", "two", "three"):
            with refused("BLOB_UNKNOWN"):
                await backend.get_blob(repository, digest)

    async def test_a_blob_that_is_referenced(self, backend: Backend) -> None:
        """The spec lets a registry delete it; the manifest stays."""
        content = await push_image(backend, "latest")
        await backend.delete_blob(REPOSITORY, digest_of(b"{}"))
        assert (await backend.get_tag(REPOSITORY, "latest")).content == content

    @pytest.mark.parametrize("size", [10, 3_000_000])
    async def test_a_reader_outlives_the_deletion(self, backend: Backend, size: int) -> None:
        content = bytes(range(256)) * (size // 256 + 1)
        digest = await push_blob(backend, content)
        async with aclosing(await backend.get_blob(REPOSITORY, digest)) as reader:
            pieces = aiter(reader)
            first = await anext(pieces)
            await backend.delete_blob(REPOSITORY, digest)
            assert first + b"".join([piece async for piece in pieces]) == content
        unread = await backend.get_blob(REPOSITORY, await push_blob(backend, content))
        async with aclosing(unread):
            await backend.delete_blob(REPOSITORY, digest)
            assert b"".join([piece async for piece in unread]) == content

    @needs("lists")
    async def test_a_manifest_and_its_tags(self, backend: Backend) -> None:
        digest = digest_of(b"text")
        await push_manifest(backend, b"text", PLAIN, "one", "two")
        await push_manifest(backend, b"other", PLAIN, "other")
        await backend.delete_manifest(REPOSITORY, digest)
        for read in (backend.get_manifest, backend.resolve_manifest, backend.delete_manifest):
            with refused("MANIFEST_UNKNOWN"):
                await read(REPOSITORY, digest)
        for tag in ("one", "two"):
            for ask in (backend.get_tag, backend.resolve_tag, backend.delete_tag):
                with refused("MANIFEST_UNKNOWN"):
                    await ask(REPOSITORY, tag)
        assert await tags_of(backend) == ["other"]
        assert (await backend.get_tag(REPOSITORY, "other")).content == b"other"

    async def test_a_manifest_stays_in_other_repositories(self, backend: Backend) -> None:
        for repository in ("one", "two"):
            await push_manifest(backend, b"text", PLAIN, "latest", repository=repository)
        await backend.delete_manifest("one", digest_of(b"text"))
        assert (await backend.get_tag("two", "latest")).content == b"text"

    async def test_a_manifest_leaves_its_blobs(self, backend: Backend) -> None:
        content = await push_image(backend, "latest", layers=[b"layer"])
        await backend.delete_manifest(REPOSITORY, digest_of(content))
        assert await read_blob(backend, digest_of(b"layer")) == b"layer"

    @needs("lists")
    async def test_a_manifest_that_comes_back_has_no_tags(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "latest")
        await backend.delete_manifest(REPOSITORY, digest_of(b"text"))
        await push_manifest(backend, b"text", PLAIN)
        assert await tags_of(backend) == []
        with refused("MANIFEST_UNKNOWN"):
            await backend.get_tag(REPOSITORY, "latest")

    @needs("lists")
    async def test_a_tag(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "one", "two")
        await backend.delete_tag(REPOSITORY, "one")
        for read in (backend.get_tag, backend.resolve_tag):
            with refused("MANIFEST_UNKNOWN"):
                await read(REPOSITORY, "one")
        assert await tags_of(backend) == ["two"]
        assert (await backend.get_tag(REPOSITORY, "two")).content == b"text"
        await backend.delete_tag(REPOSITORY, "two")
        assert (await backend.get_manifest(REPOSITORY, digest_of(b"text"))).content == b"text"

    async def test_a_tag_that_is_unknown_says_so(self, backend: Backend) -> None:
        await push_blob(backend, b"anything")
        with refused("MANIFEST_UNKNOWN"):
            await backend.delete_tag(REPOSITORY, "unknown")

    async def test_a_moved_tag_does_not_go_with_the_old_manifest(self, backend: Backend) -> None:
        await push_manifest(backend, b"old", PLAIN, "latest")
        await push_manifest(backend, b"new", PLAIN, "latest")
        await backend.delete_manifest(REPOSITORY, digest_of(b"old"))
        assert (await backend.get_tag(REPOSITORY, "latest")).content == b"new"

    @needs("referrers")
    async def test_a_referrer(self, backend: Backend) -> None:
        subject = await push_image(backend)
        referrer = await push_image(backend, subject=descriptor(IMAGE, subject))
        assert len(await collect(backend.referrers(REPOSITORY, digest_of(subject)))) == 1
        await backend.delete_manifest(REPOSITORY, digest_of(referrer))
        assert await collect(backend.referrers(REPOSITORY, digest_of(subject))) == []

    @needs("referrers")
    async def test_a_subject_leaves_its_referrers(self, backend: Backend) -> None:
        subject = await push_image(backend)
        referrer = await push_image(backend, subject=descriptor(IMAGE, subject))
        await backend.delete_manifest(REPOSITORY, digest_of(subject))
        found = await collect(backend.referrers(REPOSITORY, digest_of(subject)))
        assert [entry.digest for entry in found] == [digest_of(referrer)]

    async def test_deleting_from_an_unknown_repository(self, backend: Backend) -> None:
        with refused("NAME_UNKNOWN"):
            await backend.delete_blob("no/such", digest_of(b"?"))
        with refused("NAME_UNKNOWN"):
            await backend.delete_manifest("no/such", digest_of(b"?"))
        with refused("NAME_UNKNOWN"):
            await backend.delete_tag("no/such", "latest")
