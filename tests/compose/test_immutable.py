"""Immutable: tags are set once, and nothing is deleted (Go: `ocifilter.Immutable`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from ociserver import Manifest, Memory, OCIError, PushedManifest
from ociserver.compose import Immutable
from tests.contract.contents import REPOSITORY, digest_of, push_blob, push_manifest, tags_of
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

PLAIN = "text/plain"


class Counting(Memory):
    """Counts pushes. Can set a tag right after a push, like another client."""

    def __init__(self, *, overtaken_by: bytes | None = None) -> None:
        super().__init__()
        self.pushes = 0
        self._overtaken_by = overtaken_by

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
        create_only: Collection[str] = (),
    ) -> PushedManifest:
        self.pushes += 1
        pushed = await super().push_manifest(repository, content, media_type, digest=digest, tags=tags)
        if self._overtaken_by is not None:
            await super().push_manifest(repository, self._overtaken_by, media_type, tags=tags)
        return pushed


async def test_the_same_manifest_is_not_pushed_again() -> None:
    inner = Counting()
    backend = Immutable(inner)
    first = await push_manifest(backend, b"text", PLAIN, "one", "two")
    again = await push_manifest(backend, b"text", PLAIN, "two")
    assert again.descriptor == first.descriptor
    assert inner.pushes == 1


async def test_another_tag_of_it_is_set() -> None:
    inner = Counting()
    backend = Immutable(inner)
    await push_manifest(backend, b"text", PLAIN, "one")
    await push_manifest(backend, b"text", PLAIN, "one", "two")
    assert inner.pushes == 2
    assert await tags_of(backend) == ["one", "two"]


async def test_another_manifest_is_denied() -> None:
    inner = Counting()
    backend = Immutable(inner)
    await push_manifest(backend, b"text", PLAIN, "taken")
    with refused("DENIED") as caught:
        await push_manifest(backend, b"other", PLAIN, "free", "taken")
    assert "this store is immutable" in caught.value.message
    assert (inner.pushes, await tags_of(backend)) == (1, ["taken"])


async def test_untagged_manifests_and_blobs_pass() -> None:
    backend = Immutable(Memory())
    await push_manifest(backend, b"text", PLAIN)
    await push_manifest(backend, b"other", PLAIN)
    await push_blob(backend, b"blob")
    assert (await backend.get_manifest(REPOSITORY, digest_of(b"other"))).content == b"other"


async def test_a_lost_race_is_denied() -> None:
    """Another client sets the tag between the check and the push. The first client must get an error."""
    backend = Immutable(Counting(overtaken_by=b"theirs"))
    with refused("DENIED"):
        await push_manifest(backend, b"mine", PLAIN, "latest")


async def test_another_algorithm_is_another_manifest() -> None:
    backend = Immutable(Memory())
    await push_manifest(backend, b"text", PLAIN, "latest")
    with refused("DENIED"):
        await backend.push_manifest(REPOSITORY, b"text", PLAIN, digest=digest_of(b"text", "sha512"), tags=["latest"])


async def test_a_tag_that_cannot_be_resolved_counts_as_missing() -> None:
    class Broken(Memory):
        failing = True

        async def resolve_tag(self, repository: str, tag: str) -> object:  # type: ignore[override]
            if self.failing:
                self.failing = False
                raise OCIError("TOOMANYREQUESTS")
            return await super().resolve_tag(repository, tag)

    backend = Immutable(Broken())
    pushed = await push_manifest(backend, b"text", PLAIN, "latest")
    assert pushed.tags == ("latest",)


async def test_reading_passes() -> None:
    inner = Memory()
    await push_manifest(inner, b"text", PLAIN, "latest")
    manifest: Manifest = await Immutable(inner).get_tag(REPOSITORY, "latest")
    assert manifest.content == b"text"
