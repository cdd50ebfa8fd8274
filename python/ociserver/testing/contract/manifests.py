"""Manifests are kept to the byte, under the digest that was asked for, with all of their tags or none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ociserver import Backend, Descriptor
from ociserver.testing.contract.capabilities import Settings, needs
from ociserver.testing.contract.contents import (
    CONFIG,
    DOCKER_IMAGE,
    DOCKER_LIST,
    IMAGE,
    INDEX,
    LAYER,
    REPOSITORY,
    Json,
    collect,
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
from ociserver.testing.contract.errors import code_of, refused

LAX = pytest.mark.parametrize("settings", [Settings(lax_child_references=True)])
PLAIN = "text/plain"
CHILD = image(b"config of a child", b"layer of a child")


GOOD: Json = {"mediaType": LAYER, "digest": digest_of(b"layer"), "size": 5}
MALFORMED: list[tuple[str, Any]] = [
    ("no digest", {"mediaType": LAYER, "size": 5}),
    ("malformed digest", GOOD | {"digest": "sha256:abc"}),
    ("upper case digest", GOOD | {"digest": GOOD["digest"].upper()}),
    ("unknown algorithm", GOOD | {"digest": "md5:d41d8cd98f00b204e9800998ecf8427e"}),
    ("digest of another type", GOOD | {"digest": 5}),
    ("no media type", {"digest": GOOD["digest"], "size": 5}),
    ("empty media type", GOOD | {"mediaType": ""}),
    # behaviour: "not be size 0 unless it is the empty digest"
    ("size 0", GOOD | {"size": 0}),
    ("negative size", GOOD | {"size": -1}),
    ("size as text", GOOD | {"size": "5"}),
    ("no object", "layer"),
]


NOT_JSON = [b"", b"{", b"\x00\xff", b"{} x", b'{"layers": [}']
NOT_AN_IMAGE = [b"null", b"[]", b'"text"', b'{"layers": 5}', b'{"config": [], "layers": []}']


class Manifests:
    """Manifests are kept to the byte, under the digest that was asked for, with all of their tags or none."""

    pytestmark = pytest.mark.anyio

    @needs("lists")
    async def test_without_a_tag(self, writable: Backend) -> None:
        content = await push_image(writable)
        assert (await writable.get_manifest(REPOSITORY, digest_of(content))).content == content
        assert await tags_of(writable) == []

    @needs("referrers")
    async def test_what_a_push_tells(self, writable: Backend) -> None:
        pushed = await push_manifest(writable, b"text", PLAIN, "one", "two")
        assert pushed.descriptor == Descriptor(PLAIN, digest_of(b"text"), 4)
        assert sorted(pushed.tags) == ["one", "two"]
        assert pushed.subject is None

    @needs("lists")
    async def test_several_tags(self, writable: Backend) -> None:
        tags = [f"tag-{number}" for number in range(20)]
        await push_manifest(writable, b"text", PLAIN, *tags)
        assert await tags_of(writable) == sorted(tags)
        for tag in tags:
            assert (await writable.get_tag(REPOSITORY, tag)).content == b"text"

    @needs("lists")
    async def test_a_tag_moves(self, backend: Backend) -> None:
        await push_manifest(backend, b"old", PLAIN, "latest", "old")
        await push_manifest(backend, b"new", PLAIN, "latest")
        assert (await backend.get_tag(REPOSITORY, "latest")).content == b"new"
        assert (await backend.resolve_tag(REPOSITORY, "latest")).digest == digest_of(b"new")
        assert (await backend.get_tag(REPOSITORY, "old")).content == b"old"
        assert await tags_of(backend) == ["latest", "old"]

    @needs("lists")
    async def test_pushing_again_adds_tags(self, writable: Backend) -> None:
        await push_manifest(writable, b"text", PLAIN, "one")
        await push_manifest(writable, b"text", PLAIN, "two")
        await push_manifest(writable, b"text", PLAIN)
        assert await tags_of(writable) == ["one", "two"]

    @needs("lists")
    @pytest.mark.parametrize("bad", ["", "a/b", "-a", ".a", "a" * 129, "a b", "é", "a\n", "../x"])
    async def test_a_malformed_tag_sets_none(self, writable: Backend, bad: str) -> None:
        await push_blob(writable, b"anything")
        with refused("MANIFEST_INVALID", "UNSUPPORTED", "NAME_INVALID", "TAG_INVALID"):
            await push_manifest(writable, b"text", PLAIN, "good", bad)
        assert await tags_of(writable) == []
        with refused("MANIFEST_UNKNOWN"):
            await writable.get_manifest(REPOSITORY, digest_of(b"text"))

    @pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
    async def test_the_digest_that_was_asked_for(self, writable: Backend, algorithm: str) -> None:
        digest = digest_of(b"text", algorithm)
        pushed = await writable.push_manifest(REPOSITORY, b"text", PLAIN, digest=digest, tags=["latest"])
        assert pushed.descriptor.digest == digest
        assert (await writable.get_manifest(REPOSITORY, digest)).descriptor.digest == digest
        # By tag too: never another algorithm than it was pushed with.
        assert (await writable.get_tag(REPOSITORY, "latest")).descriptor.digest == digest
        assert (await writable.resolve_tag(REPOSITORY, "latest")).digest == digest

    @needs("lists")
    @pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
    async def test_a_wrong_digest_of_a_manifest_stores_nothing(self, writable: Backend, algorithm: str) -> None:
        await push_blob(writable, b"anything")
        digest = digest_of(b"other", algorithm)
        with refused("DIGEST_INVALID"):
            await writable.push_manifest(REPOSITORY, b"text", PLAIN, digest=digest, tags=["latest"])
        for wanted in (digest, digest_of(b"text"), digest_of(b"text", algorithm)):
            with refused("MANIFEST_UNKNOWN"):
                await writable.get_manifest(REPOSITORY, wanted)
        assert await tags_of(writable) == []

    @pytest.mark.parametrize("digest", ["", "sha256:abc", "md5:" + "0" * 32, "sha256:" + "A" * 64])
    async def test_a_malformed_digest(self, writable: Backend, digest: str) -> None:
        with refused("DIGEST_INVALID"):
            await writable.push_manifest(REPOSITORY, b"text", PLAIN, digest=digest)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"\x00\xff\xfe",
            b"[]",
            b'"text"',
            b'{"config": {}, "layers": 5, "manifests": 5}',
            b'{"layers": 5}',
        ],
    )
    async def test_other_types_are_stored_as_they_are(self, writable: Backend, content: bytes) -> None:
        await push_manifest(writable, content, PLAIN, "latest")
        assert (await writable.get_tag(REPOSITORY, "latest")).content == content

    @needs("lists", "validates")
    @pytest.mark.parametrize("media_type", [IMAGE, INDEX, IMAGE + ";charset=utf-8"])
    async def test_a_bad_descriptor(self, writable: Backend, media_type: str) -> None:
        await push_blob(writable, b"{}")
        await push_blob(writable, b"layer")
        for name, bad in MALFORMED:
            if media_type == INDEX:
                content = encode({"schemaVersion": 2, "manifests": [bad]})
            else:
                content = encode({"schemaVersion": 2, "config": descriptor(CONFIG, b"{}"), "layers": [GOOD, bad]})
            assert await code_of(push_manifest(writable, content, media_type, "latest")) == "MANIFEST_INVALID", name
        assert await tags_of(writable) == []

    @needs("validates")
    async def test_a_descriptor_of_docker_s_needs_only_a_digest(self, writable: Backend) -> None:
        await push_blob(writable, b"{}")
        await push_blob(writable, b"layer")
        layers = [{"digest": digest_of(b"layer")}, {"digest": digest_of(b"layer"), "size": 0, "mediaType": ""}]
        content = encode({"schemaVersion": 2, "config": {"digest": digest_of(b"{}")}, "layers": layers})
        await push_manifest(writable, content, DOCKER_IMAGE, "latest")
        for bad in ({}, {"digest": "sha256:abc"}, {"digest": 5}):
            content = encode({"schemaVersion": 2, "config": {"digest": digest_of(b"{}")}, "layers": [bad]})
            with refused("MANIFEST_INVALID"):
                await push_manifest(writable, content, DOCKER_IMAGE, "bad")

    @needs("lists", "validates")
    @pytest.mark.parametrize("media_type", [IMAGE, DOCKER_IMAGE])
    async def test_an_image_that_is_none(self, writable: Backend, media_type: str) -> None:
        await push_blob(writable, b"anything")
        for content in (*NOT_JSON, *NOT_AN_IMAGE):
            assert await code_of(push_manifest(writable, content, media_type, "latest")) == "MANIFEST_INVALID", content
        assert await tags_of(writable) == []

    @needs("lists", "validates")
    @pytest.mark.parametrize("media_type", [IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST])
    @LAX
    async def test_lax_still_needs_json(self, writable: Backend, media_type: str) -> None:
        await push_blob(writable, b"anything")
        for content in NOT_JSON:
            assert await code_of(push_manifest(writable, content, media_type, "latest")) == "MANIFEST_INVALID", content
        assert await tags_of(writable) == []

    @pytest.mark.parametrize("content", NOT_AN_IMAGE)
    @LAX
    async def test_lax_needs_no_more_than_json(self, writable: Backend, content: bytes) -> None:
        await push_manifest(writable, content, IMAGE, "latest")
        assert (await writable.get_tag(REPOSITORY, "latest")).content == content

    async def test_an_empty_descriptor_may_have_size_0(self, writable: Backend) -> None:
        await push_blob(writable, b"")
        await push_image(writable, "latest", layers=[b""])

    @needs("lists", "validates")
    @pytest.mark.parametrize("media_type", [IMAGE, DOCKER_IMAGE])
    async def test_missing_blobs_are_named(self, writable: Backend, media_type: str) -> None:
        def made(config: bytes, layer: bytes) -> bytes:
            layers = [descriptor(LAYER, layer)]
            return encode({"schemaVersion": 2, "config": descriptor(CONFIG, config), "layers": layers})

        await push_blob(writable, b"config")
        with refused("MANIFEST_BLOB_UNKNOWN") as caught:
            await push_manifest(writable, made(b"config", b"missing layer"), media_type, "latest")
        assert "layers[0]" in str(caught.value)
        await push_blob(writable, b"layer")
        with refused("MANIFEST_BLOB_UNKNOWN") as caught:
            await push_manifest(writable, made(b"missing config", b"layer"), media_type, "latest")
        assert "config" in str(caught.value)
        assert await tags_of(writable) == []
        await push_manifest(writable, made(b"config", b"layer"), media_type, "latest")

    @needs("validates")
    async def test_layers_of_schema_1_are_named(self, writable: Backend) -> None:
        content = encode({"schemaVersion": 1, "fsLayers": [{"blobSum": digest_of(b"layer")}]})
        with refused("MANIFEST_BLOB_UNKNOWN") as caught:
            await push_manifest(
                writable, content, "application/vnd.docker.distribution.manifest.v1+prettyjws", "latest"
            )
        assert "fsLayers[0]" in str(caught.value)
        await push_blob(writable, b"layer")
        await push_manifest(writable, content, "application/vnd.docker.distribution.manifest.v1+prettyjws", "latest")

    @needs("validates")
    async def test_blobs_of_another_repository_do_not_count(self, writable: Backend) -> None:
        await push_image(writable, repository="other")
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await push_manifest(writable, image(b"{}"), IMAGE)
        await push_blob(writable, b"{}")
        await push_manifest(writable, image(b"{}"), IMAGE)

    @needs("validates")
    async def test_blobs_of_an_upload_do_not_count(self, writable: Backend) -> None:
        writer = await writable.push_blob_chunked(REPOSITORY)
        await writer.write(b"{}")
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await push_manifest(writable, image(b"{}"), IMAGE)
        await writer.commit(digest_of(b"{}"))
        await writer.aclose()
        await push_manifest(writable, image(b"{}"), IMAGE)

    @needs("validates")
    @pytest.mark.parametrize("media_type", [INDEX, DOCKER_LIST])
    async def test_missing_children_are_named(self, writable: Backend, media_type: str) -> None:
        content = encode({"schemaVersion": 2, "manifests": [descriptor(IMAGE, CHILD)]})
        with refused("MANIFEST_BLOB_UNKNOWN") as caught:
            await push_manifest(writable, content, media_type, "latest")
        assert "manifests[0]" in str(caught.value)
        # A blob with the same bytes is not a manifest.
        await push_blob(writable, CHILD)
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await push_manifest(writable, content, media_type, "latest")

    @needs("validates")
    @pytest.mark.parametrize("media_type", [INDEX, DOCKER_LIST])
    async def test_an_entry_of_an_unknown_type_is_a_manifest_or_a_blob(
        self, writable: Backend, media_type: str
    ) -> None:
        """Image-spec: a type that is not known must not be an error. BuildKit lists the layers of its cache so."""
        entries = [
            descriptor("application/vnd.example.thing", b"a blob"),
            descriptor("application/x-other", b"a manifest"),
        ]
        content = encode({"schemaVersion": 2, "manifests": entries})
        with refused("MANIFEST_BLOB_UNKNOWN") as caught:
            await push_manifest(writable, content, media_type, "latest")
        assert "manifests[0]" in str(caught.value)
        await push_blob(writable, b"a blob")
        with refused("MANIFEST_BLOB_UNKNOWN") as caught:
            await push_manifest(writable, content, media_type, "latest")
        assert "manifests[1]" in str(caught.value)
        await push_manifest(writable, b"a manifest", "application/x-other")
        await push_manifest(writable, content, media_type, "latest")
        assert (await writable.get_tag(REPOSITORY, "latest")).content == content

    @needs("validates")
    async def test_many_descriptors(self, writable: Backend) -> None:
        """A manifest of up to 4 MiB is accepted, as by all registries that were compared."""
        await push_blob(writable, b"{}")
        layer = descriptor(LAYER, b"layer")
        content = json.dumps({"config": descriptor(CONFIG, b"{}"), "layers": [layer] * 25_000}).encode()
        assert 3_500_000 < len(content) < 4 * 1024 * 1024
        with refused("MANIFEST_BLOB_UNKNOWN"):
            await push_manifest(writable, content, IMAGE, "latest")
        await push_blob(writable, b"layer")
        await push_manifest(writable, content, IMAGE, "latest")
        assert (await writable.resolve_tag(REPOSITORY, "latest")).size == len(content)

    async def test_an_index_of_indexes(self, writable: Backend) -> None:
        child = await push_image(writable, config=b"one")
        inner = index(child)
        await push_manifest(writable, inner, INDEX)
        outer = encode({"schemaVersion": 2, "manifests": [descriptor(INDEX, inner), descriptor(IMAGE, child)]})
        await push_manifest(writable, outer, INDEX, "latest")
        assert (await writable.get_tag(REPOSITORY, "latest")).content == outer

    async def test_an_empty_index(self, writable: Backend) -> None:
        await push_manifest(writable, index(), INDEX, "latest")
        await push_manifest(writable, b'{"schemaVersion":2,"manifests":null}', INDEX, "null")

    @pytest.mark.parametrize("suffix", ["tar", "tar+gzip", "tar+zstd"])
    async def test_layers_that_must_not_be_distributed_are_not_required(self, writable: Backend, suffix: str) -> None:
        await push_blob(writable, b"{}")
        layer = descriptor(f"application/vnd.oci.image.layer.nondistributable.v1.{suffix}", b"elsewhere")
        content = encode({"schemaVersion": 2, "config": descriptor(CONFIG, b"{}"), "layers": [layer]})
        await push_manifest(writable, content, IMAGE, "latest")

    @needs("referrers")
    async def test_a_subject_may_be_missing(self, writable: Backend) -> None:
        subject = descriptor(IMAGE, b"never pushed")
        await push_blob(writable, b"{}")
        pushed = await push_manifest(writable, image(b"{}", subject=subject), IMAGE, "image")
        assert pushed.subject == subject["digest"]
        pushed = await push_manifest(writable, index(subject=subject), INDEX, "index")
        assert pushed.subject == subject["digest"]

    @needs("referrers")
    async def test_pushing_again_tells_the_subject_again(self, writable: Backend) -> None:
        """Otherwise a client concludes that there is no referrers API (spec: pushing manifests with subject)."""
        subject = descriptor(IMAGE, b"never pushed")
        content = index(subject=subject)
        for _ in range(2):
            pushed = await push_manifest(writable, content, INDEX, "latest")
            assert pushed.subject == subject["digest"]
            assert pushed.tags == ("latest",)

    @needs("lists")
    @LAX
    async def test_lax_takes_what_is_incomplete(self, writable: Backend) -> None:
        await push_manifest(writable, image(b"missing", b"missing too"), IMAGE, "image")
        await push_manifest(writable, index(CHILD), INDEX, "index")
        assert await tags_of(writable) == ["image", "index"]

    async def test_a_manifest_of_4_mib(self, writable: Backend) -> None:
        content = encode({"annotations": {"large": "x" * (4 * 1024 * 1024 - 100)}})
        await push_manifest(writable, content, "application/vnd.example+json", "latest")
        assert (await writable.get_tag(REPOSITORY, "latest")).content == content

    @needs("lists")
    async def test_a_manifest_makes_its_repository(self, writable: Backend) -> None:
        await push_manifest(writable, b"text", PLAIN)
        assert await collect(writable.repositories()) == [REPOSITORY]
