"""Blobs pushed in one go: nothing is stored before its digest is verified."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ociserver import UNKNOWN_SIZE, Backend, Descriptor
from ociserver.testing.contract.capabilities import needs
from ociserver.testing.contract.contents import BINARY, REPOSITORY, collect, digest_of, pieces_of, push_blob, read_blob
from ociserver.testing.contract.errors import refused

TEXT = b"some content"


class Pushing:
    """Blobs pushed in one go: nothing is stored before its digest is verified."""

    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
    @pytest.mark.parametrize("size", [len(TEXT), UNKNOWN_SIZE])
    async def test_a_push_is_stored_under_its_digest(self, writable: Backend, algorithm: str, size: int) -> None:
        digest = digest_of(TEXT, algorithm)
        pushed = await writable.push_blob(REPOSITORY, Descriptor(BINARY, digest, size), pieces_of(TEXT[:5], TEXT[5:]))
        assert (pushed.digest, pushed.size) == (digest, len(TEXT))
        assert await read_blob(writable, digest) == TEXT
        assert (await writable.resolve_blob(REPOSITORY, digest)).digest == digest

    @pytest.mark.parametrize("size", [0, UNKNOWN_SIZE])
    @pytest.mark.parametrize("pieces", [(), (b"",), (b"", b"")])
    async def test_nothing_is_a_blob_too(self, writable: Backend, size: int, pieces: tuple[bytes, ...]) -> None:
        digest = digest_of(b"")
        await writable.push_blob(REPOSITORY, Descriptor(BINARY, digest, size), pieces_of(*pieces))
        assert await read_blob(writable, digest) == b""

    async def test_single_bytes_make_a_blob(self, writable: Backend) -> None:
        digest = digest_of(TEXT)
        pieces = [bytes([byte]) for byte in TEXT]
        await writable.push_blob(REPOSITORY, Descriptor(BINARY, digest, len(TEXT)), pieces_of(*pieces))
        assert await read_blob(writable, digest) == TEXT

    @pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
    @pytest.mark.parametrize("size", [len(TEXT), UNKNOWN_SIZE])
    async def test_a_wrong_digest_stores_nothing(self, writable: Backend, algorithm: str, size: int) -> None:
        await push_blob(writable, b"something else")
        claimed = digest_of(b"other content", algorithm)
        with refused("DIGEST_INVALID"):
            await writable.push_blob(REPOSITORY, Descriptor(BINARY, claimed, size), pieces_of(TEXT))
        for digest in (claimed, digest_of(TEXT)):
            with refused("BLOB_UNKNOWN"):
                await writable.get_blob(REPOSITORY, digest)

    @pytest.mark.parametrize("difference", [-1, 1, 1_000_000])
    async def test_a_wrong_size_stores_nothing(self, writable: Backend, difference: int) -> None:
        await push_blob(writable, b"something else")
        digest = digest_of(TEXT)
        with refused("SIZE_INVALID"):
            await writable.push_blob(REPOSITORY, Descriptor(BINARY, digest, len(TEXT) + difference), pieces_of(TEXT))
        with refused("BLOB_UNKNOWN"):
            await writable.get_blob(REPOSITORY, digest)

    @pytest.mark.parametrize(
        "digest",
        [
            "",
            "sha256:",
            "sha256:abc",
            "md5:" + "0" * 32,
            "sha256:" + "G" * 64,
            "sha256:" + "A" * 64,
            "../../etc/passwd",
        ],
    )
    async def test_a_malformed_digest_is_refused(self, writable: Backend, digest: str) -> None:
        with refused("DIGEST_INVALID"):
            await writable.push_blob(REPOSITORY, Descriptor(BINARY, digest, len(TEXT)), pieces_of(TEXT))

    @needs("lists")
    @pytest.mark.parametrize("repository", ["", "..", "../x", "a/../b", "/a", "a/", "A", "a//b", "a\n", "a\0b", "é"])
    async def test_a_malformed_repository_is_refused(self, writable: Backend, repository: str) -> None:
        with refused("NAME_INVALID"):
            await writable.push_blob(repository, Descriptor(BINARY, digest_of(TEXT), len(TEXT)), pieces_of(TEXT))
        with refused("NAME_INVALID"):
            await writable.push_blob_chunked(repository)
        with refused("NAME_INVALID"):
            await writable.push_manifest(repository, b"anything", "text/plain")
        assert await collect(writable.repositories()) == []

    async def test_pushing_twice_changes_nothing(self, writable: Backend) -> None:
        digest = await push_blob(writable, TEXT)
        assert await push_blob(writable, TEXT) == digest
        assert await read_blob(writable, digest) == TEXT

    async def test_a_source_that_breaks_off_stores_nothing(self, writable: Backend) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield TEXT
            raise ConnectionResetError("the client went away")

        await push_blob(writable, b"something else")
        digest = digest_of(TEXT)
        with pytest.raises(ConnectionResetError):
            await writable.push_blob(REPOSITORY, Descriptor(BINARY, digest, UNKNOWN_SIZE), broken())
        with refused("BLOB_UNKNOWN"):
            await writable.get_blob(REPOSITORY, digest)
        assert await push_blob(writable, TEXT) == digest

    @needs("lists", "validates")
    async def test_a_refused_push_makes_no_repository(self, local: Backend) -> None:
        with refused("DIGEST_INVALID"):
            await local.push_blob(REPOSITORY, Descriptor(BINARY, digest_of(b"other"), -1), pieces_of(TEXT))
        with refused("MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID"):
            await local.push_manifest(REPOSITORY, b"{", "application/vnd.oci.image.manifest.v1+json")
        with refused("NAME_UNKNOWN"):
            await local.resolve_blob(REPOSITORY, digest_of(b"other"))
        assert await collect(local.repositories()) == []
