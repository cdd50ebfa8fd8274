"""Tags that a push may only create: every backend refuses to move them, and then changes nothing."""

from __future__ import annotations

import asyncio

import pytest

from ociserver import Backend, OCIError
from ociserver.testing.contract.capabilities import needs
from ociserver.testing.contract.contents import REPOSITORY, digest_of, push_manifest, tags_of
from ociserver.testing.contract.errors import refused

PLAIN = "text/plain"


async def create(backend: Backend, content: bytes, *tags: str, create_only: tuple[str, ...]) -> None:
    await backend.push_manifest(REPOSITORY, content, PLAIN, tags=tags, create_only=create_only)


@needs("create_only")
class CreateOnly:
    """Tags that a push may only create: every backend refuses to move them, and then changes nothing."""

    pytestmark = pytest.mark.anyio

    async def test_a_new_tag_is_set(self, backend: Backend) -> None:
        await create(backend, b"text", "v1", create_only=("v1",))
        assert (await backend.get_tag(REPOSITORY, "v1")).content == b"text"

    @needs("lists")
    async def test_the_same_again_changes_nothing(self, backend: Backend) -> None:
        await create(backend, b"text", "v1", create_only=("v1",))
        await create(backend, b"text", "v1", create_only=("v1",))
        assert await tags_of(backend) == ["v1"]

    async def test_a_tag_of_another_manifest_is_denied(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "v1")
        with refused("DENIED") as caught:
            await create(backend, b"other", "v1", create_only=("v1",))
        assert "v1" in caught.value.message
        assert (await backend.get_tag(REPOSITORY, "v1")).content == b"text"

    @needs("lists")
    async def test_one_tag_that_is_taken_denies_all(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "taken")
        with refused("DENIED"):
            await create(backend, b"other", "free", "taken", create_only=("free", "taken"))
        assert await tags_of(backend) == ["taken"]
        with refused("MANIFEST_UNKNOWN"):
            await backend.get_manifest(REPOSITORY, digest_of(b"other"))

    async def test_other_tags_of_the_same_push_may_move(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "latest")
        await create(backend, b"other", "latest", "v1", create_only=("v1",))
        for tag in ("latest", "v1"):
            assert (await backend.get_tag(REPOSITORY, tag)).content == b"other"

    async def test_of_two_pushes_at_once_one_wins(self, local: Backend) -> None:
        contents = [b"text %d" % number for number in range(8)]
        results = await asyncio.gather(
            *(create(local, content, "v1", create_only=("v1",)) for content in contents), return_exceptions=True
        )
        failed = [result for result in results if result is not None]
        assert len(failed) == len(contents) - 1
        assert {error.code for error in failed if isinstance(error, OCIError)} == {"DENIED"}
        winner = contents[results.index(None)]
        assert (await local.get_tag(REPOSITORY, "v1")).content == winner
