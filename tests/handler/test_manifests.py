"""Manifests over HTTP: bounds of size and type, tags in the query, and the headers of the answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from ociserver import Backend, Descriptor, Handler, Memory, PushedManifest
from tests.contract.contents import IMAGE, INDEX, REPOSITORY, descriptor, digest_of, index, tags_of
from tests.handler.driver import Exchange, body_messages, make_scope, request
from tests.handler.registry import BLOB, CONTENT, DIGEST, MANIFEST, TAG, handler

pytestmark = pytest.mark.anyio

LIMIT = 4 * 1024 * 1024


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 3])
@pytest.mark.parametrize("chunked", [True, False])
async def test_too_large(size: int, *, chunked: bool) -> None:
    body = b"x" * size
    pieces = [body[start : start + 100_000] for start in range(0, size, 100_000)]
    reply = await request(Handler(Memory()), "PUT", TAG, pieces if chunked else body, {"content-type": "text/plain"})
    # Spec: pushing manifests: "If the registry ... SHOULD ... 413 Payload Too Large".
    assert (reply.status, reply.code) == (413, "SIZE_INVALID")


async def test_too_large_is_said_before_a_byte_is_read() -> None:
    """A client that waits for `100 Continue` need not send what will be refused."""
    exchange = Exchange(body_messages([b"x"]))
    headers = [("content-length", str(LIMIT + 1)), ("expect", "100-continue")]
    await Handler(Memory())(make_scope("PUT", TAG, headers), exchange.receive, exchange.send)
    assert (exchange.reply.status, exchange.reply.code, exchange.received) == (413, "SIZE_INVALID", 0)


@pytest.mark.parametrize("chunked", [True, False])
async def test_just_not_too_large(*, chunked: bool) -> None:
    body = b"x" * LIMIT
    reply = await request(Handler(Memory()), "PUT", TAG, [body] if chunked else body, {"content-type": "text/plain"})
    assert reply.status == 201


@pytest.mark.parametrize(
    "media_type, kept",
    [
        (IMAGE, IMAGE),
        (IMAGE + "; charset=utf-8", IMAGE),
        (f"  {IMAGE}  ", IMAGE),
        (IMAGE.upper(), IMAGE),
        ("", IMAGE),
    ],
)
async def test_the_media_type_comes_back(media_type: str, kept: str) -> None:
    application = await handler()
    assert (await request(application, "PUT", TAG, CONTENT, {"content-type": media_type})).status == 201
    for method in ("GET", "HEAD"):
        assert (await request(application, method, TAG))["content-type"] == kept


@pytest.mark.parametrize("media_type", ["application/" + "x" * 243, "not a media type"])
async def test_any_other_media_type_comes_back(media_type: str) -> None:
    application = Handler(Memory())
    for sent in (media_type, f"{media_type}; version=2"):
        assert (await request(application, "PUT", TAG, b"text", {"content-type": sent})).status == 201
        assert (await request(application, "GET", TAG))["content-type"] == media_type


async def test_a_backend_that_knows_nothing_of_types() -> None:
    """The handler compares them itself, for every backend."""

    class Careless(Backend):
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
            return PushedManifest(Descriptor(media_type, DIGEST, len(content)))

    application = Handler(Careless())
    assert (await request(application, "PUT", TAG, CONTENT, {"content-type": IMAGE})).status == 201
    reply = await request(application, "PUT", TAG, CONTENT, {"content-type": "application/json"})
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")
    assert "application/json" in reply.message
    assert IMAGE in reply.message


async def test_no_media_type() -> None:
    application = Handler(Memory())
    assert (await request(application, "PUT", TAG, b"text")).status == 201
    assert (await request(application, "GET", TAG))["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("media_type", ["application/" + "x" * 244, "text/grüße", "a\0b", "a\rb", "a\nX: y", "a\x7fb"])
async def test_a_media_type_that_cannot_be_sent_back(media_type: str) -> None:
    reply = await request(Handler(Memory()), "PUT", TAG, b"text", {"content-type": media_type})
    assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")


async def test_what_a_push_answers() -> None:
    application = await handler()
    for path in (TAG, MANIFEST):
        reply = await request(application, "PUT", path, CONTENT, {"content-type": IMAGE})
        assert (reply.status, reply.body) == (201, b"")
        # The digest, even when it was pushed by tag.
        assert reply["location"] == MANIFEST
        assert reply["docker-content-digest"] == DIGEST
        assert not reply.all("oci-subject")
        assert not reply.all("oci-tag")


async def test_a_subject_is_acknowledged() -> None:
    content = index(subject=descriptor(IMAGE, b"never pushed"))
    application = Handler(Memory())
    for reference in ("latest", digest_of(content), digest_of(content, "sha512")):
        path = f"/v2/{REPOSITORY}/manifests/{reference}"
        reply = await request(application, "PUT", path, content, {"content-type": INDEX})
        assert reply["oci-subject"] == digest_of(b"never pushed")


async def test_tags_in_the_query() -> None:
    backend = Memory()
    path = f"/v2/{REPOSITORY}/manifests/{digest_of(b'text')}"
    tags = [f"tag-{number}" for number in range(12)]
    query = "&".join(f"tag={tag}" for tag in [*tags, "tag-0"])
    reply = await request(Handler(backend), "PUT", f"{path}?{query}", b"text", {"content-type": "text/plain"})
    assert reply.status == 201
    assert [tag.strip() for tag in ",".join(reply.all("oci-tag")).split(",")] == tags
    assert await tags_of(backend) == sorted(tags)


@pytest.mark.parametrize("bad", ["", "a/b", "-a", "a" * 129, "gr%C3%BC%C3%9Fe", "a%00b", "a,b"])
async def test_a_bad_tag_in_the_query_sets_none(bad: str) -> None:
    backend = Memory()
    path = f"/v2/{REPOSITORY}/manifests/{digest_of(b'text')}?tag=good&tag={bad}"
    reply = await request(Handler(backend), "PUT", path, b"text", {"content-type": "text/plain"})
    assert 400 <= reply.status < 500
    assert (await request(Handler(backend), "GET", "/v2/_catalog")).json() == {"repositories": []}


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
async def test_another_digest_than_the_content_has(algorithm: str) -> None:
    path = f"/v2/{REPOSITORY}/manifests/{digest_of(b'other', algorithm)}"
    reply = await request(Handler(Memory()), "PUT", path, b"text", {"content-type": "text/plain"})
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


@pytest.mark.parametrize(
    "accept", ["application/json", "text/html", "application/vnd.oci.image.index.v1+json;q=1", "*/*", ""]
)
async def test_accept_is_not_looked_at(accept: str) -> None:
    reply = await request(await handler(), "GET", TAG, headers={"accept": accept})
    assert (reply.status, reply["content-type"], reply.body) == (200, IMAGE, CONTENT)


async def test_deleting() -> None:
    application = await handler()
    for path, status in [(TAG, 202), (TAG, 404), (MANIFEST, 202), (MANIFEST, 404), (BLOB, 202), (BLOB, 404)]:
        reply = await request(application, "DELETE", path)
        assert reply.status == status
        if status == 202:
            assert (reply.body, reply["content-length"]) == (b"", "0")
    for path in (TAG, MANIFEST, BLOB):
        assert (await request(application, "HEAD", path)).status == 404
