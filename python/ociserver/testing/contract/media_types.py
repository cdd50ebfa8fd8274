"""One digest has one media type: that of the document, and the one it was stored with first (CVE-2021-41190)."""

from __future__ import annotations

import pytest

from ociserver import Backend, Descriptor
from ociserver.testing.contract.capabilities import Settings, needs
from ociserver.testing.contract.contents import (
    DOCKER_IMAGE,
    DOCKER_LIST,
    IMAGE,
    INDEX,
    REPOSITORY,
    Json,
    collect,
    descriptor,
    digest_of,
    encode,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
    tags_of,
)
from ociserver.testing.contract.errors import refused

JSON = "application/json"
NONE = ""
"""No Content-Type at all."""

TYPES = (IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST, JSON, NONE, "application/x-www-form-urlencoded")
LAX = pytest.mark.parametrize("settings", [Settings(), Settings(lax_child_references=True)], ids=["strict", "lax"])
NAMED = pytest.mark.parametrize("is_named", [True, False], ids=["named", "nameless"])
DOCUMENT = pytest.mark.parametrize("media_type", [IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST, JSON])

SUBJECT = descriptor(IMAGE, b"never pushed")


async def document(backend: Backend, media_type: str, *, is_named: bool) -> bytes:
    """A document of a type, whose parts are in the registry. `name` is its `mediaType`."""
    for blob in (b"config", b"layer"):
        await push_blob(backend, blob)
    child = await push_image(backend, config=b"config", layers=[b"layer"])
    body: Json = {"schemaVersion": 2}
    if media_type in (IMAGE, DOCKER_IMAGE):
        body["config"] = descriptor("application/vnd.example.config", b"config")
        body["layers"] = [descriptor("application/vnd.example.layer", b"layer")]
    elif media_type in (INDEX, DOCKER_LIST):
        body["manifests"] = [descriptor(IMAGE, child)]
    if media_type in (IMAGE, INDEX):
        body["subject"] = SUBJECT
    if is_named:
        body["mediaType"] = media_type
    return encode(body)


@needs("validates")
class MediaTypes:
    """One digest has one media type: that of the document, and the one it was stored with first (CVE-2021-41190)."""

    pytestmark = pytest.mark.anyio

    @needs("lists", "referrers")
    @DOCUMENT
    @NAMED
    @LAX
    async def test_a_stored_manifest_keeps_its_type(
        self, writable: Backend, media_type: str, *, is_named: bool
    ) -> None:
        content = await document(writable, media_type, is_named=is_named)
        wanted = Descriptor(media_type, digest_of(content), len(content))
        await push_manifest(writable, content, media_type, "v1")
        for other in TYPES:
            if other == media_type or (other == NONE and is_named):
                continue
            for tags in (["v2"], ["v1"], []):
                with refused("MANIFEST_INVALID"):
                    await push_manifest(writable, content, other, *tags)
        assert await tags_of(writable) == ["v1"]
        assert (await writable.get_tag(REPOSITORY, "v1")).descriptor == wanted
        assert await writable.resolve_tag(REPOSITORY, "v1") == wanted
        assert await writable.resolve_manifest(REPOSITORY, wanted.digest) == wanted
        found = await collect(writable.referrers(REPOSITORY, SUBJECT["digest"]))
        assert [one.digest for one in found] == ([wanted.digest] if media_type in (IMAGE, INDEX) else [])
        # As itself it is welcome, with other tags and without.
        await push_manifest(writable, content, media_type, "v2")
        assert await writable.resolve_tag(REPOSITORY, "v2") == wanted
        assert await read_blob(writable, digest_of(b"layer")) == b"layer"

    @needs("lists")
    @DOCUMENT
    async def test_a_named_document_is_pushed_as_what_it_is(self, writable: Backend, media_type: str) -> None:
        content = await document(writable, media_type, is_named=True)
        for other in TYPES:
            if other in (media_type, NONE):
                continue
            with refused("MANIFEST_INVALID") as caught:
                await push_manifest(writable, content, other, "latest")
            assert media_type in caught.value.message
            assert other in caught.value.message
        assert await tags_of(writable) == []
        with refused("MANIFEST_UNKNOWN"):
            await writable.get_manifest(REPOSITORY, digest_of(content))

    @DOCUMENT
    async def test_what_is_stored_is_the_document_s_own_type(self, writable: Backend, media_type: str) -> None:
        content = await document(writable, media_type, is_named=True)
        wanted = Descriptor(media_type, digest_of(content), len(content))
        for number, sent in enumerate((NONE, media_type.upper(), f"{media_type}; charset=utf-8", f" {media_type} ;")):
            pushed = await push_manifest(writable, content, sent, f"tag-{number}")
            assert pushed.descriptor == wanted
            assert await writable.resolve_tag(REPOSITORY, f"tag-{number}") == wanted

    @pytest.mark.parametrize(
        "sent, kept",
        [
            (NONE, "application/octet-stream"),
            ("application/vnd.example+json;v=2", "application/vnd.example+json"),
            ('text/plain; x="quoted; text"', "text/plain"),
            ("Text/Plain", "Text/Plain"),
        ],
    )
    async def test_a_document_without_a_name_has_the_type_that_is_sent(
        self, writable: Backend, sent: str, kept: str
    ) -> None:
        pushed = await push_manifest(writable, b"text", sent, "latest")
        assert pushed.descriptor.media_type == kept
        assert (await writable.get_tag(REPOSITORY, "latest")).descriptor == pushed.descriptor

    @needs("lists")
    @NAMED
    @LAX
    async def test_a_type_has_its_own_shape(self, writable: Backend, *, is_named: bool) -> None:
        image = {"config": descriptor("application/x", b"config"), "layers": [descriptor("application/x", b"layer")]}
        listed: Json = {"manifests": []}
        for blob in (b"config", b"layer"):
            await push_blob(writable, blob)
        for media_type, body in (
            (IMAGE, listed),
            (IMAGE, {**image, **listed}),
            (DOCKER_IMAGE, listed),
            (DOCKER_IMAGE, {**image, **listed}),
            (INDEX, image),
            (INDEX, {**image, **listed}),
            (INDEX, {**listed, "layers": []}),
            (DOCKER_LIST, image),
            (DOCKER_LIST, {**image, **listed}),
            (DOCKER_LIST, {**listed, "config": {}}),
        ):
            content = encode({"schemaVersion": 2, **({"mediaType": media_type} if is_named else {}), **body})
            with refused("MANIFEST_INVALID"):
                await push_manifest(writable, content, media_type, "latest")
        assert await tags_of(writable) == []

    @needs("lists")
    async def test_a_document_that_names_two_types(self, writable: Backend) -> None:
        await push_blob(writable, b"anything")
        content = b'{"mediaType":"%s","mediaType":"%s","manifests":[]}' % (INDEX.encode(), IMAGE.encode())
        for media_type in (IMAGE, INDEX, JSON):
            with refused("MANIFEST_INVALID"):
                await push_manifest(writable, content, media_type, "latest")
        assert await tags_of(writable) == []

    @needs("lists")
    @pytest.mark.parametrize("media_type", ["a" * 256, "text/pl\x7fain", "text/\nplain", "text/café"])
    async def test_a_type_that_cannot_stand_in_a_header(self, writable: Backend, media_type: str) -> None:
        await push_blob(writable, b"anything")
        with refused("MANIFEST_INVALID"):
            await push_manifest(writable, encode({"mediaType": media_type}), NONE, "latest")
        assert await tags_of(writable) == []
