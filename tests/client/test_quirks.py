"""Every quirk that our own handler supports: the client does everything in spite of it."""

from __future__ import annotations

import pytest

from ociserver import Descriptor, Memory, Options
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import (
    BINARY,
    CONFIG,
    IMAGE,
    REPOSITORY,
    collect,
    descriptor,
    digest_of,
    encode,
    pieces_of,
    push_image,
    push_manifest,
    read_blob,
    tags_of,
)
from tests.support.remote import Remote

pytestmark = pytest.mark.anyio

TAGS = [f"tag-{number:02}" for number in range(12)]
LAYER = bytes(range(256)) * 1000
SUBJECT_TYPE, OTHER_TYPE = "application/vnd.example.signature", "application/vnd.example.sbom"

QUIRKS = {
    "none": Options(),
    "no referrers API": Options(disable_referrers_api=True),
    "no filter of referrers": Options(disable_referrers_filtering=True),
    "no upload in one POST": Options(disable_single_post_upload=True),
    "pages of five at most": Options(max_list_page_size=5),
    "whole lists": Options(ignore_pagination=True),
    "no digest with a tag": Options(omit_digest_from_tag_get_response=True),
    "no links": Options(omit_link_header_from_responses=True),
    "pages of five without links": Options(max_list_page_size=5, omit_link_header_from_responses=True),
}
EVERYTHING = Options(
    disable_referrers_api=True,
    disable_single_post_upload=True,
    max_list_page_size=5,
    omit_digest_from_tag_get_response=True,
    omit_link_header_from_responses=True,
)


def artifact(kind: str, subject: bytes) -> bytes:
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "artifactType": kind,
            "config": descriptor(CONFIG, b"{}"),
            "layers": [],
            "subject": descriptor(IMAGE, subject),
        }
    )


@pytest.mark.parametrize("page_size", [3, 1000])
@pytest.mark.parametrize("options", [*QUIRKS.values(), EVERYTHING], ids=[*QUIRKS, "all of them"])
async def test_a_quirk(options: Options, page_size: int) -> None:
    async with Remote(Memory(), options, page_size=page_size) as client:
        content = await push_image(client, *TAGS, layers=[b"small", LAYER])
        digest = digest_of(content)

        for resolved in (
            await client.resolve_tag(REPOSITORY, TAGS[0]),
            (await client.get_tag(REPOSITORY, TAGS[0])).descriptor,
            (await client.get_manifest(REPOSITORY, digest)).descriptor,
        ):
            assert (resolved.digest, resolved.media_type, resolved.size) == (digest, IMAGE, len(content))
        assert (await client.get_tag(REPOSITORY, TAGS[0])).content == content
        assert await read_blob(client, digest_of(LAYER)) == LAYER

        for name in ("a", "b", "c", "d"):
            await push_image(client, "latest", repository=name)
        assert await tags_of(client) == TAGS
        assert await collect(client.tags(REPOSITORY, start_after=TAGS[6])) == TAGS[7:]
        assert await collect(client.repositories()) == ["a", "b", "c", "d", REPOSITORY]

        signature, other = artifact(SUBJECT_TYPE, content), artifact(OTHER_TYPE, content)
        for manifest in (signature, other):
            await push_manifest(client, manifest, IMAGE)
        both = {entry.digest async for entry in client.referrers(REPOSITORY, digest)}
        assert both == {digest_of(signature), digest_of(other)}
        one = [entry.digest async for entry in client.referrers(REPOSITORY, digest, artifact_type=SUBJECT_TYPE)]
        assert one == [digest_of(signature)]

        await client.delete_manifest(REPOSITORY, digest_of(other))
        left = [entry.digest async for entry in client.referrers(REPOSITORY, digest)]
        assert left == [digest_of(signature)]


async def test_contents_on_another_host(elsewhere: Scripted) -> None:
    options = Options(locations_for_descriptor=lambda manifest, described: [] if manifest else [f"{elsewhere.url}/b"])
    async with Remote(Memory(), options) as client:
        described = Descriptor(BINARY, digest_of(LAYER), len(LAYER))
        assert await client.push_blob(REPOSITORY, described, pieces_of(LAYER)) == described
        elsewhere.will(Reply(200, {}, LAYER))
        assert await read_blob(client, digest_of(LAYER)) == LAYER
    assert elsewhere.lines == ["GET /b"]
