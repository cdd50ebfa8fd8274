"""Uploads outlive their writers, and are as long as was acknowledged."""

from __future__ import annotations

import os
from contextlib import aclosing

import pytest

from ociserver import Backend
from ociserver.testing.contract.capabilities import needs
from ociserver.testing.contract.contents import REPOSITORY, digest_of, push_blob, read_blob
from ociserver.testing.contract.errors import refused

TEXT = b"0123456789"


async def started(backend: Backend, content: bytes = b"", algorithm: str = "sha256") -> str:
    """Start an upload, write to it, suspend it, and return its id."""
    writer = await backend.push_blob_chunked(REPOSITORY, algorithm=algorithm)
    async with aclosing(writer):
        if content:
            await writer.write(content)
        return writer.id


async def size_of(backend: Backend, upload_id: str) -> int:
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
        return writer.size


async def append(backend: Backend, upload_id: str, content: bytes, offset: int | None = None) -> None:
    async with aclosing(await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)) as writer:
        await writer.write(content)


async def commit(backend: Backend, upload_id: str, digest: str, offset: int | None = None) -> None:
    writer = await backend.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset, digest=digest)
    async with aclosing(writer):
        assert (await writer.commit(digest)).digest == digest


class Uploads:
    """Uploads outlive their writers, and are as long as was acknowledged."""

    pytestmark = pytest.mark.anyio

    async def test_an_upload_in_one_writer(self, writable: Backend) -> None:
        writer = await writable.push_blob_chunked(REPOSITORY)
        async with aclosing(writer):
            assert writer.id
            assert writer.size == 0
            assert writer.chunk_size >= 0
            await writer.write(TEXT[:4])
            assert writer.size == 4
            await writer.write(TEXT[4:])
            committed = await writer.commit(digest_of(TEXT))
        assert (committed.digest, committed.size) == (digest_of(TEXT), len(TEXT))
        assert await read_blob(writable, digest_of(TEXT)) == TEXT

    async def test_an_upload_is_no_blob_before_its_commit(self, writable: Backend) -> None:
        await started(writable, TEXT)
        with refused("BLOB_UNKNOWN", "NAME_UNKNOWN"):
            await writable.get_blob(REPOSITORY, digest_of(TEXT))

    @needs("starts_repositories")
    async def test_starting_an_upload_makes_the_repository(self, writable: Backend) -> None:
        await started(writable)
        with refused("BLOB_UNKNOWN"):
            await writable.get_blob(REPOSITORY, digest_of(TEXT))

    async def test_an_upload_over_many_writers(self, writable: Backend) -> None:
        content = os.urandom(700_000)
        sizes = [1, 0, 8191, 8192, 8193, 65536, 65537, 300_000]
        upload_id = await started(writable)
        offset = 0
        for size in sizes:
            await append(writable, upload_id, content[offset : offset + size], offset)
            offset += size
            assert await size_of(writable, upload_id) == offset
        await append(writable, upload_id, content[offset:])
        await commit(writable, upload_id, digest_of(content))
        assert await read_blob(writable, digest_of(content)) == content

    async def test_the_id_stays(self, writable: Backend) -> None:
        writer = await writable.push_blob_chunked(REPOSITORY)
        upload_id = writer.id
        await writer.write(TEXT)
        assert writer.id == upload_id
        await writer.aclose()
        assert writer.id == upload_id
        async with aclosing(await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as again:
            assert again.id == upload_id

    async def test_uploads_are_kept_apart(self, writable: Backend) -> None:
        one, two = await started(writable, b"one"), await started(writable, b"two!")
        assert one != two
        assert (await size_of(writable, one), await size_of(writable, two)) == (3, 4)
        await commit(writable, two, digest_of(b"two!"))
        await commit(writable, one, digest_of(b"one"))

    async def test_an_empty_upload(self, writable: Backend) -> None:
        upload_id = await started(writable)
        await commit(writable, upload_id, digest_of(b""), 0)
        assert await read_blob(writable, digest_of(b"")) == b""

    @pytest.mark.parametrize("offset", [0, 3, 9, 11, 2**62])
    async def test_a_wrong_offset_fails_what_is_written(self, writable: Backend, offset: int) -> None:
        upload_id = await started(writable, TEXT)
        # Not here: the body may turn out to be empty.
        writer = await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)
        with refused("RANGE_INVALID"):
            async with aclosing(writer):
                await writer.write(b"x")
        # And the upload is where it was (spec: pushing a blob in chunks).
        assert await size_of(writable, upload_id) == len(TEXT)
        await append(writable, upload_id, b"ab", len(TEXT))
        await commit(writable, upload_id, digest_of(TEXT + b"ab"))

    @pytest.mark.parametrize("offset", [0, 3, 9, 11, 2**62])
    async def test_the_write_itself_fails(self, local: Backend, offset: int) -> None:
        upload_id = await started(local, TEXT)
        async with aclosing(await local.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)) as writer:
            with refused("RANGE_INVALID"):
                await writer.write(b"x")

    @pytest.mark.parametrize("offset", [0, 3, 11])
    async def test_a_wrong_offset_fails_no_empty_commit(self, writable: Backend, offset: int) -> None:
        upload_id = await started(writable, TEXT)
        writer = await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset, digest=digest_of(TEXT))
        async with aclosing(writer):
            await writer.write(b"")
            await writer.commit(digest_of(TEXT))
        assert await read_blob(writable, digest_of(TEXT)) == TEXT

    async def test_the_offset_counts_for_the_first_write_only(self, writable: Backend) -> None:
        upload_id = await started(writable, TEXT)
        async with aclosing(await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=len(TEXT))) as writer:
            await writer.write(b"a")
            await writer.write(b"b")
            await writer.commit(digest_of(TEXT + b"ab"))

    async def test_a_wrong_digest_keeps_the_upload(self, writable: Backend) -> None:
        upload_id = await started(writable, TEXT)
        writer = await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)
        async with aclosing(writer):
            for digest in (digest_of(b"other"), digest_of(b"other", "sha512")):
                with refused("DIGEST_INVALID"):
                    await writer.commit(digest)
        assert await size_of(writable, upload_id) == len(TEXT)
        with refused("BLOB_UNKNOWN", "NAME_UNKNOWN"):
            await writable.get_blob(REPOSITORY, digest_of(b"other"))
        await append(writable, upload_id, b"!", len(TEXT))
        await commit(writable, upload_id, digest_of(TEXT + b"!"))
        assert await read_blob(writable, digest_of(TEXT + b"!")) == TEXT + b"!"

    @pytest.mark.parametrize("digest", ["", "sha256:abc", "md5:" + "0" * 32, "../x"])
    async def test_a_malformed_digest_keeps_the_upload(self, writable: Backend, digest: str) -> None:
        upload_id = await started(writable, TEXT)
        async with aclosing(await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
            with refused("DIGEST_INVALID"):
                await writer.commit(digest)
        await commit(writable, upload_id, digest_of(TEXT))

    @pytest.mark.parametrize("started_with", ["sha256", "sha384", "sha512"])
    @pytest.mark.parametrize("closed_with", ["sha256", "sha384", "sha512"])
    async def test_the_closing_digest_names_the_algorithm(
        self, writable: Backend, started_with: str, closed_with: str
    ) -> None:
        content = os.urandom(200_000)
        upload_id = await started(writable, content[:70_000], started_with)
        await append(writable, upload_id, content[70_000:])
        await commit(writable, upload_id, digest_of(content, closed_with))
        assert await read_blob(writable, digest_of(content, closed_with)) == content

    async def test_committing_what_is_there_already(self, writable: Backend) -> None:
        await push_blob(writable, TEXT)
        await commit(writable, await started(writable, TEXT), digest_of(TEXT))
        assert await read_blob(writable, digest_of(TEXT)) == TEXT

    async def test_one_writer_at_a_time(self, local: Backend) -> None:
        upload_id = await started(local)
        first = await local.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)
        await first.write(b"first")
        async with aclosing(await local.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as second:
            with refused("RANGE_INVALID"):
                await second.write(b"second")
        # The refused request has not disturbed the one that is writing.
        await first.write(b"!")
        await first.aclose()
        assert await size_of(local, upload_id) == 6
        await append(local, upload_id, b"?", 6)
        await commit(local, upload_id, digest_of(b"first!?"))

    async def test_asking_how_far_it_is_does_not_take_the_upload(self, writable: Backend) -> None:
        upload_id = await started(writable)
        async with aclosing(await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
            await writer.write(TEXT[:4])
            # What is acknowledged need not be seen while it is being written, but never more than it.
            assert 0 <= await size_of(writable, upload_id) <= 4
            await writer.write(TEXT[4:])
            await writer.commit(digest_of(TEXT))

    async def test_cancel_forgets_everything(self, writable: Backend) -> None:
        upload_id = await started(writable, TEXT)
        writer = await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)
        await writer.cancel()
        await writer.cancel()
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await writer.write(b"more")
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await writer.commit(digest_of(TEXT))
        await writer.aclose()
        await writer.aclose()
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await writable.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)

    async def test_cancel_by_another_ends_the_writer(self, local: Backend) -> None:
        upload_id = await started(local)
        writer = await local.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)
        async with aclosing(writer):
            await writer.write(TEXT)
            async with aclosing(await local.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as other:
                await other.cancel()
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await writer.write(b"more")
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await writer.commit(digest_of(TEXT))
        with refused("BLOB_UNKNOWN", "NAME_UNKNOWN"):
            await local.get_blob(REPOSITORY, digest_of(TEXT))

    async def test_cancel_after_commit_leaves_the_blob(self, writable: Backend) -> None:
        writer = await writable.push_blob_chunked(REPOSITORY)
        await writer.write(TEXT)
        await writer.commit(digest_of(TEXT))
        await writer.cancel()
        await writer.aclose()
        assert await read_blob(writable, digest_of(TEXT)) == TEXT
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await writable.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None)

    async def test_a_committed_upload_takes_no_more(self, writable: Backend) -> None:
        writer = await writable.push_blob_chunked(REPOSITORY)
        async with aclosing(writer):
            await writer.write(TEXT)
            await writer.commit(digest_of(TEXT))
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await writer.write(b"more")
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await writer.commit(digest_of(TEXT))
        assert await read_blob(writable, digest_of(TEXT)) == TEXT

    @pytest.mark.parametrize(
        "upload_id", ["", "unknown", "0" * 64, "../../etc/passwd", "/etc/passwd", "a\0b", "é", "x" * 10_000, "\udc80"]
    )
    async def test_an_unknown_upload(self, writable: Backend, upload_id: str) -> None:
        await started(writable)
        for offset in (None, 0, 5):
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await append(writable, upload_id, TEXT, offset)

    @pytest.mark.parametrize("upload_id", ["", "unknown", "0" * 64, "../../etc/passwd", "x" * 10_000])
    async def test_an_unknown_upload_cannot_be_opened(self, local: Backend, upload_id: str) -> None:
        await started(local)
        for offset in (None, 0, 5):
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await local.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)

    async def test_an_upload_belongs_to_its_repository(self, writable: Backend) -> None:
        upload_id = await started(writable, TEXT)
        await push_blob(writable, b"other", "other")
        for repository in ("other", "unknown"):
            with refused("BLOB_UPLOAD_UNKNOWN", "NAME_UNKNOWN"):
                await writable.push_blob_chunked_resume(repository, upload_id, offset=None)
        assert await size_of(writable, upload_id) == len(TEXT)
