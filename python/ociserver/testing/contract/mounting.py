"""A blob is linked from one repository into another without its bytes."""

from __future__ import annotations

import pytest

from ociserver import Backend
from ociserver.testing.contract.capabilities import Subject, needs
from ociserver.testing.contract.contents import collect, digest_of, push_blob, read_blob
from ociserver.testing.contract.errors import refused

CANNOT_MOUNT = ("NAME_UNKNOWN", "BLOB_UNKNOWN", "UNSUPPORTED")
"""The codes after which the handler starts an upload instead."""


@needs("mounts")
class Mounting:
    """A blob is linked from one repository into another without its bytes."""

    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_a_mount(self, writable: Backend, algorithm: str) -> None:
        digest = digest_of(b"text", algorithm)
        writer = await writable.push_blob_chunked("source")
        await writer.write(b"text")
        await writer.commit(digest)
        mounted = await writable.mount_blob("source", "target", digest)
        assert mounted.digest == digest
        assert await read_blob(writable, digest, repository="target") == b"text"
        assert await read_blob(writable, digest, repository="source") == b"text"

    async def test_mounting_again_changes_nothing(self, writable: Backend) -> None:
        digest = await push_blob(writable, b"text", "source")
        for _ in range(2):
            await writable.mount_blob("source", "target", digest)
            await writable.mount_blob("source", "source", digest)
        assert await read_blob(writable, digest, repository="target") == b"text"

    @needs("lists")
    async def test_what_cannot_be_mounted(self, local: Backend) -> None:
        await push_blob(local, b"text", "source")
        with refused("NAME_UNKNOWN"):
            await local.mount_blob("no/such", "target", digest_of(b"text"))
        with refused("BLOB_UNKNOWN"):
            await local.mount_blob("source", "target", digest_of(b"?"))
        # A mount that failed has not made its target.
        assert await collect(local.repositories()) == ["source"]

    async def test_what_cannot_be_mounted_is_refused(self, writable: Backend) -> None:
        await push_blob(writable, b"text", "source")
        for source, content in (("no/such", b"text"), ("source", b"?")):
            with refused(*CANNOT_MOUNT):
                await writable.mount_blob(source, "target", digest_of(content))
        with refused("BLOB_UNKNOWN", "NAME_UNKNOWN"):
            await writable.resolve_blob("target", digest_of(b"text"))

    async def test_a_malformed_target(self, writable: Backend) -> None:
        digest = await push_blob(writable, b"text", "source")
        with refused("NAME_INVALID"):
            await writable.mount_blob("source", "../target", digest)

    async def test_a_blob_that_was_deleted_cannot_be_mounted_from_there(self, backend: Backend) -> None:
        digest = await push_blob(backend, b"text", "source")
        await push_blob(backend, b"text", "other")
        await backend.delete_blob("source", digest)
        with refused(*CANNOT_MOUNT):
            await backend.mount_blob("source", "target", digest)

    async def test_from_anywhere(self, subject: Subject) -> None:
        digest = await push_blob(subject.filled, b"text", "source")
        if not subject.can.writes or not subject.can.mounts_from_anywhere:
            with refused("UNSUPPORTED"):
                await subject.backend.mount_blob(None, "target", digest)
            return
        mounted = await subject.backend.mount_blob(None, "target", digest)
        assert (mounted.digest, mounted.size) == (digest, 4)
        assert await read_blob(subject.backend, digest, repository="target") == b"text"
        with refused("UNSUPPORTED" if subject.can.remote else "BLOB_UNKNOWN"):
            await subject.backend.mount_blob(None, "target", digest_of(b"?"))
