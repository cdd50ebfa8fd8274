"""A wrapper refuses what it does not forward, with the code that it declares."""

from __future__ import annotations

import pytest

from ociserver import UNKNOWN_SIZE, Descriptor
from ociserver.testing.contract.capabilities import Subject, needs
from ociserver.testing.contract.contents import (
    BINARY,
    IMAGE,
    REPOSITORY,
    digest_of,
    pieces_of,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
    tags_of,
)
from ociserver.testing.contract.errors import refused


class Refusals:
    """A wrapper refuses what it does not forward, with the code that it declares."""

    pytestmark = pytest.mark.anyio

    async def test_writes(self, subject: Subject) -> None:
        content = await push_image(subject.filled, "latest")
        backend = subject.backend
        if subject.can.writes:
            assert await push_blob(backend, b"new") == digest_of(b"new")
            return
        with refused("UNSUPPORTED"):
            await backend.push_blob(REPOSITORY, Descriptor(BINARY, digest_of(b"new"), UNKNOWN_SIZE), pieces_of(b"new"))
        with refused("UNSUPPORTED"):
            await backend.push_blob_chunked(REPOSITORY)
        with refused("UNSUPPORTED"):
            await backend.push_blob_chunked_resume(REPOSITORY, "any", offset=None)
        with refused("UNSUPPORTED"):
            await backend.mount_blob(REPOSITORY, "other", digest_of(b"{}"))
        with refused("UNSUPPORTED"):
            await push_manifest(backend, content, IMAGE, "latest")
        with refused("BLOB_UNKNOWN"):
            await backend.resolve_blob(REPOSITORY, digest_of(b"new"))

    @needs("lists")
    async def test_deletions(self, subject: Subject) -> None:
        content = await push_image(subject.filled, "latest")
        backend = subject.backend
        if subject.can.deletes:
            await backend.delete_tag(REPOSITORY, "latest")
            assert await tags_of(backend) == []
            return
        # Of what is there and of what is not.
        for blob in (b"{}", b"?"):
            with refused(subject.can.refusal):
                await backend.delete_blob(REPOSITORY, digest_of(blob))
        for manifest in (content, b"?"):
            with refused(subject.can.refusal):
                await backend.delete_manifest(REPOSITORY, digest_of(manifest))
        for tag in ("latest", "unknown"):
            with refused(subject.can.refusal):
                await backend.delete_tag(REPOSITORY, tag)
        assert await read_blob(backend, digest_of(b"{}")) == b"{}"
        assert await tags_of(backend) == ["latest"]

    async def test_tags_that_move(self, subject: Subject) -> None:
        await push_manifest(subject.filled, b"old", "text/plain", "latest")
        if subject.can.writes and subject.can.moves_tags:
            await push_manifest(subject.backend, b"new", "text/plain", "latest")
            assert (await subject.backend.get_tag(REPOSITORY, "latest")).content == b"new"
            return
        with refused(subject.can.refusal):
            await push_manifest(subject.backend, b"new", "text/plain", "latest")
        assert (await subject.backend.get_tag(REPOSITORY, "latest")).content == b"old"
