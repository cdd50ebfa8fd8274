"""A registry with immutable tags: a tag keeps its manifest, and everything that the manifest reaches."""

from __future__ import annotations

import pytest

from ociserver import Backend
from ociserver.testing.contract.capabilities import Settings, needs
from ociserver.testing.contract.contents import (
    IMAGE,
    INDEX,
    REPOSITORY,
    descriptor,
    digest_of,
    encode,
    image,
    index,
    push_blob,
    push_image,
    push_manifest,
    tags_of,
)
from ociserver.testing.contract.errors import refused

PLAIN = "text/plain"

IMMUTABLE = pytest.mark.parametrize("settings", [Settings(immutable_tags=True)])


class ImmutableTags:
    """A registry with immutable tags: a tag keeps its manifest, and everything that the manifest reaches."""

    pytestmark = pytest.mark.anyio

    @IMMUTABLE
    async def test_pushing_the_same_again_changes_nothing(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "latest")
        pushed = await push_manifest(backend, b"text", PLAIN, "latest")
        assert pushed.descriptor.digest == digest_of(b"text")
        assert (await backend.get_tag(REPOSITORY, "latest")).descriptor.media_type == PLAIN

    @IMMUTABLE
    async def test_another_manifest_is_denied(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "latest")
        with refused("DENIED") as caught:
            await push_manifest(backend, b"other", PLAIN, "latest")
        assert "cannot overwrite tag" in caught.value.message
        assert (await backend.get_tag(REPOSITORY, "latest")).content == b"text"

    @IMMUTABLE
    async def test_the_same_manifest_as_another_algorithm_is_denied(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "latest")
        with refused("DENIED"):
            await backend.push_manifest(
                REPOSITORY, b"text", PLAIN, digest=digest_of(b"text", "sha512"), tags=["latest"]
            )
        assert (await backend.resolve_tag(REPOSITORY, "latest")).digest == digest_of(b"text")

    @needs("lists")
    @IMMUTABLE
    async def test_one_immutable_tag_denies_all(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "taken")
        with refused("DENIED"):
            await push_manifest(backend, b"other", PLAIN, "free", "taken", "free-too")
        assert await tags_of(backend) == ["taken"]
        with refused("MANIFEST_UNKNOWN"):
            await backend.get_manifest(REPOSITORY, digest_of(b"other"))

    @IMMUTABLE
    @pytest.mark.parametrize("tags", [["latest"], ["another"], []])
    async def test_another_media_type_is_denied(self, backend: Backend, tags: list[str]) -> None:
        await push_manifest(backend, b"text", PLAIN, "latest")
        with refused("DENIED") as caught:
            await push_manifest(backend, b"text", "text/html", *tags)
        assert "mismatched media type" in caught.value.message
        assert (await backend.get_tag(REPOSITORY, "latest")).descriptor.media_type == PLAIN

    @needs("lists")
    @IMMUTABLE
    async def test_another_tag_of_the_same_manifest(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "one")
        await push_manifest(backend, b"text", PLAIN, "two")
        assert await tags_of(backend) == ["one", "two"]

    @needs("lists")
    @IMMUTABLE
    async def test_a_tag_cannot_be_deleted(self, backend: Backend) -> None:
        await push_manifest(backend, b"text", PLAIN, "latest")
        with refused("DENIED"):
            await backend.delete_tag(REPOSITORY, "latest")
        with refused("MANIFEST_UNKNOWN"):
            await backend.delete_tag(REPOSITORY, "unknown")
        assert await tags_of(backend) == ["latest"]

    @IMMUTABLE
    async def test_what_a_tag_reaches_cannot_be_deleted(self, backend: Backend) -> None:
        subject = await push_image(backend, config=b"config of the subject")
        child = await push_image(backend, config=b"config", layers=[b"one", b"two"], subject=descriptor(IMAGE, subject))
        inner = index(child)
        await push_manifest(backend, inner, INDEX)
        outer = encode({"schemaVersion": 2, "manifests": [descriptor(INDEX, inner)]})
        await push_manifest(backend, outer, INDEX, "latest")
        for manifest in (outer, inner, child, subject):
            with refused("DENIED"):
                await backend.delete_manifest(REPOSITORY, digest_of(manifest))
        for blob in (b"config", b"one", b"two", b"config of the subject"):
            with refused("DENIED"):
                await backend.delete_blob(REPOSITORY, digest_of(blob))

    @IMMUTABLE
    async def test_what_no_tag_reaches_may_go(self, backend: Backend) -> None:
        tagged = await push_image(backend, "latest", config=b"config")
        child = await push_image(backend, config=b"other config")
        # A referrer of a tagged manifest is not reached from it: the arrow points the other way.
        referrer = await push_image(backend, config=b"{}", subject=descriptor(IMAGE, tagged))
        parent = index(child, tagged)
        await push_manifest(backend, parent, INDEX)
        for manifest in (child, referrer, parent):
            await backend.delete_manifest(REPOSITORY, digest_of(manifest))
        for blob in (b"other config", b"{}"):
            await backend.delete_blob(REPOSITORY, digest_of(blob))
        with refused("DENIED"):
            await backend.delete_manifest(REPOSITORY, digest_of(tagged))

    @IMMUTABLE
    async def test_unknown_things_stay_unknown(self, backend: Backend) -> None:
        await push_blob(backend, b"anything")
        with refused("BLOB_UNKNOWN"):
            await backend.delete_blob(REPOSITORY, digest_of(b"?"))
        with refused("MANIFEST_UNKNOWN"):
            await backend.delete_manifest(REPOSITORY, digest_of(b"?"))

    @IMMUTABLE
    async def test_a_blob_that_is_shared_by_repositories_is_protected_where_it_is_tagged(
        self, backend: Backend
    ) -> None:
        await push_image(backend, "latest")
        await push_blob(backend, b"{}", "other")
        await backend.delete_blob("other", digest_of(b"{}"))
        with refused("DENIED"):
            await backend.delete_blob(REPOSITORY, digest_of(b"{}"))

    @IMMUTABLE
    async def test_subjects_that_form_a_ring_end_the_walk(self, backend: Backend) -> None:
        """Digests cannot form one, but a subject that was never pushed may be named by many."""
        missing = descriptor(IMAGE, b"never pushed")
        await push_blob(backend, b"{}")
        one = image(b"{}", subject=missing)
        two = image(b"{}", subject=missing, annotations={"number": "two"})
        await push_manifest(backend, one, IMAGE)
        await push_manifest(backend, two, IMAGE, "latest")
        await backend.delete_manifest(REPOSITORY, digest_of(one))
        with refused("DENIED"):
            await backend.delete_blob(REPOSITORY, digest_of(b"{}"))
