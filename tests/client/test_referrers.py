"""Lists of referrers that the client maintains, for registries without the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from ociserver import HTTPError, Memory, Options
from ociserver.client import Client
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import IMAGE, INDEX, REPOSITORY, collect, digest_of, encode, image, push_manifest
from tests.contract.errors import refused
from tests.support.remote import Remote

pytestmark = pytest.mark.anyio

SUBJECT = digest_of(b"a subject that need not exist")
TAG = SUBJECT.replace(":", "-")


@pytest.fixture
async def without_api() -> AsyncIterator[Remote]:
    """A client of a registry that has no referrers API and accepts any manifest."""
    async with Remote(Memory(lax_child_references=True), Options(disable_referrers_api=True)) as remote:
        yield remote


def referrer(number: int, *, subject: str = SUBJECT) -> bytes:
    described = {"mediaType": IMAGE, "digest": subject, "size": 29}
    return image(b"{}", b"layer", subject=described, annotations={"number": str(number)})


async def entries(registry: Remote) -> list[dict[str, object]]:
    """The entries of the index under the tag, as another client reads them."""
    manifest = await registry.served.get_tag(REPOSITORY, TAG)
    document = json.loads(manifest.content)
    assert (manifest.descriptor.media_type, document["mediaType"]) == (INDEX, INDEX)
    found: list[dict[str, object]] = document["manifests"]
    return found


async def test_a_push_is_added_to_the_index_under_the_tag(without_api: Remote) -> None:
    content = referrer(1)
    pushed = await push_manifest(without_api, content, IMAGE)
    # So that a server in front of this client can send OCI-Subject.
    assert pushed.subject == SUBJECT
    # Spec: the type of the config if the manifest has no artifact type, and all annotations.
    assert await entries(without_api) == [
        {
            "mediaType": IMAGE,
            "digest": digest_of(content),
            "size": len(content),
            "artifactType": "application/vnd.oci.image.config.v1+json",
            "annotations": {"number": "1"},
        }
    ]
    await push_manifest(without_api, content, IMAGE)
    assert len(await entries(without_api)) == 1


async def test_concurrent_pushes_are_all_added(without_api: Remote) -> None:
    contents = [referrer(number) for number in range(8)]
    await asyncio.gather(*(push_manifest(without_api, content, IMAGE) for content in contents))
    wanted = sorted(map(digest_of, contents))
    assert sorted(str(entry["digest"]) for entry in await entries(without_api)) == wanted
    assert [found.digest for found in await collect(without_api.referrers(REPOSITORY, SUBJECT))] == wanted


async def test_entries_of_other_clients_do_not_change(without_api: Remote) -> None:
    other = {"mediaType": IMAGE, "digest": digest_of(b"other"), "size": 5, "urls": ["x"], "org.example": {"a": 1}}
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [other], "annotations": {"kept": "too"}}
    await push_manifest(without_api.served, encode(document), INDEX, TAG)
    await push_manifest(without_api, referrer(1), IMAGE)
    assert (await entries(without_api))[0] == other
    await without_api.delete_manifest(REPOSITORY, digest_of(referrer(1)))
    assert await entries(without_api) == [other]
    assert json.loads((await without_api.get_tag(REPOSITORY, TAG)).content)["annotations"] == {"kept": "too"}


async def test_a_tag_of_another_manifest_is_not_overwritten(without_api: Remote) -> None:
    await push_manifest(without_api.served, image(b"{}"), IMAGE, TAG)
    with pytest.raises(HTTPError, match="not an index"):
        await push_manifest(without_api, referrer(1), IMAGE)
    assert (await without_api.get_tag(REPOSITORY, TAG)).content == image(b"{}")


async def test_a_manifest_without_a_subject_needs_no_request(client: Client, registry: Scripted) -> None:
    registry.will(Reply(201))
    await client.push_manifest("project", image(b"{}"), IMAGE, tags=["latest"])
    registry.will(Reply(201, {"OCI-Subject": SUBJECT}))
    assert (await client.push_manifest("project", referrer(1), IMAGE)).subject == SUBJECT
    assert [seen.method for seen in registry.seen] == ["PUT", "PUT"]


async def test_a_registry_that_has_the_api_and_does_not_say_so(client: Client, registry: Scripted) -> None:
    listed = Reply(200, {"Content-Type": INDEX}, b'{"schemaVersion":2,"manifests":[]}')
    registry.will(Reply(201), listed, Reply(201), Reply(202))
    assert (await client.push_manifest("project", referrer(1), IMAGE)).subject is None
    # The client asks once.
    await client.push_manifest("project", referrer(2), IMAGE)
    await client.delete_manifest("project", digest_of(referrer(1)))
    assert [seen.method for seen in registry.seen] == ["PUT", "GET", "PUT", "DELETE"]


async def test_a_refused_deletion_changes_no_list(client: Client, registry: Scripted) -> None:
    content = referrer(1)
    registry.will(Reply(200, {"Content-Type": IMAGE}, content), Reply(403))
    with refused("DENIED"):
        await client.delete_manifest("project", digest_of(content))
    assert [seen.method for seen in registry.seen] == ["GET", "DELETE"]
