"""Reads are verified: the result is the requested content, or an error."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from ociserver import ByteRange, HTTPError, OCIError
from ociserver.client import Client
from ociserver.client.limits import MAX_MANIFEST_SIZE
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import digest_of, read_blob
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

TEXT = bytes(range(256)) * 40
DIGEST = digest_of(TEXT)
LARGE = TEXT * 800
OTHER = digest_of(b"other")
JSON = {"Content-Type": "application/json"}


async def read(client: Client, range: ByteRange | None = None) -> bytes:
    return await read_blob(client, DIGEST, range, "project")


def part(start: int, stop: int, *, cut: bool = False) -> Reply:
    body = TEXT[start:stop]
    return Reply(206, {"Content-Range": f"bytes {start}-{stop - 1}/{len(TEXT)}"}, body, cut=cut)


@pytest.mark.parametrize("claimed", [None, DIGEST, digest_of(b"lie")])
async def test_a_blob_with_other_bytes(client: Client, registry: Scripted, claimed: str | None) -> None:
    """The last byte is never given, so that no caller takes the blob for complete. The header does not matter."""
    lie = b"lie" + TEXT[3:]
    registry.will(Reply(200, {"Docker-Content-Digest": claimed or ""}, lie))
    given = b""
    with refused("DIGEST_INVALID") as caught:
        async with aclosing(await client.get_blob("project", DIGEST)) as reader:
            async for piece in reader:
                given += piece
    assert len(given) < len(lie)
    assert caught.value.status == 502


@pytest.mark.parametrize("at", [0, len(LARGE) // 2, len(LARGE) - 1])
async def test_a_large_blob_with_one_other_byte(client: Client, registry: Scripted, at: int) -> None:
    """The reader hashes the blob while it passes it on, and not faster."""
    registry.will(Reply(200, {}, LARGE), Reply(200, {}, LARGE[:at] + b"?" + LARGE[at + 1 :]))
    assert await read_blob(client, digest_of(LARGE), None, "project") == LARGE
    given = 0
    with refused("DIGEST_INVALID"):
        async with aclosing(await client.get_blob("project", digest_of(LARGE))) as reader:
            async for piece in reader:
                given += len(piece)
    assert given < len(LARGE)


async def test_a_large_blob_that_is_not_read_to_its_end(client: Client, registry: Scripted) -> None:
    registry.will(Reply(200, {}, LARGE), Reply(200, {}, LARGE))
    async with aclosing(await client.get_blob("project", digest_of(LARGE))) as reader:
        async for _ in reader:
            break
    assert await read_blob(client, digest_of(LARGE), None, "project") == LARGE


@pytest.mark.parametrize("claimed", [None, DIGEST, digest_of(b"lie")])
async def test_a_manifest_with_other_bytes(client: Client, registry: Scripted, claimed: str | None) -> None:
    registry.will(Reply(200, {"Docker-Content-Digest": claimed or ""}, b"lie"))
    with refused("DIGEST_INVALID"):
        await client.get_manifest("project", DIGEST)


async def test_a_tag_with_other_bytes_than_its_digest(client: Client, registry: Scripted) -> None:
    registry.will(Reply(200, {"Docker-Content-Digest": OTHER}, b"lie"))
    with refused("DIGEST_INVALID"):
        await client.get_tag("project", "latest")


@pytest.mark.parametrize("digest", [digest_of(b"{}", "sha512"), digest_of(b"{}")])
async def test_a_tag_has_the_digest_that_the_registry_names(client: Client, registry: Scripted, digest: str) -> None:
    registry.will(Reply(200, {**JSON, "Docker-Content-Digest": digest}, b"{}"))
    assert (await client.get_tag("project", "latest")).descriptor.digest == digest


async def test_a_tag_without_a_digest(client: Client, registry: Scripted) -> None:
    registry.will(Reply(200, JSON, b"{}"))
    assert (await client.get_tag("project", "latest")).descriptor.digest == digest_of(b"{}")
    # A HEAD has no content to compute the digest of.
    registry.will(Reply(200, {**JSON, "Content-Length": "2"}), Reply(200, JSON, b"{}"))
    assert (await client.resolve_tag("project", "latest")).digest == digest_of(b"{}")
    assert [seen.method for seen in registry.seen] == ["GET", "HEAD", "GET"]


async def test_a_malformed_digest(client: Client, registry: Scripted) -> None:
    registry.will(Reply(200, {"Docker-Content-Digest": "sha256:short"}, b"{}"))
    with pytest.raises(HTTPError, match="not a digest"):
        await client.get_tag("project", "latest")


async def test_a_manifest_without_end(client: Client, registry: Scripted) -> None:
    registry.will(Reply(200, {"Content-Length": str(MAX_MANIFEST_SIZE + 1)}))
    with pytest.raises(HTTPError, match="larger"):
        await client.get_tag("project", "latest")
    registry.will(
        Reply(200, {"Content-Length": "", "Connection": "close"}, bytes(MAX_MANIFEST_SIZE + 1), cut=True),
    )
    with pytest.raises(HTTPError, match="larger"):
        await client.get_tag("project", "latest")


async def test_an_interrupted_blob_is_resumed(client: Client, registry: Scripted) -> None:
    registry.will(
        Reply(200, {"Content-Length": str(len(TEXT))}, TEXT[:3000], cut=True),
        Reply(206, {"Content-Range": f"bytes 3000-{len(TEXT) - 1}/{len(TEXT)}"}, TEXT[3000:3001]),
        part(3001, len(TEXT)),
    )
    # The second answer is as long as it promised, but the blob is still incomplete.
    assert await read(client) == TEXT
    assert [seen.headers.get("range") for seen in registry.seen] == [
        None,
        f"bytes=3000-{len(TEXT) - 1}",
        f"bytes=3001-{len(TEXT) - 1}",
    ]


async def test_a_blob_that_is_resumed_with_other_bytes(client: Client, registry: Scripted) -> None:
    registry.will(
        Reply(200, {"Content-Length": str(len(TEXT))}, TEXT[:3000], cut=True),
        Reply(206, {"Content-Range": f"bytes 3000-{len(TEXT) - 1}/{len(TEXT)}"}, bytes(len(TEXT) - 3000)),
    )
    with refused("DIGEST_INVALID"):
        await read(client)


async def test_a_blob_that_always_breaks_off(client: Client, registry: Scripted) -> None:
    replies = [Reply(200, {"Content-Length": str(len(TEXT))}, TEXT[:1000], cut=True) for _ in range(50)]
    registry.will(*replies)
    with pytest.raises(HTTPError) as caught:
        await read(client)
    assert caught.value.status == 502
    assert 1 < len(registry.seen) < 10


@pytest.mark.parametrize("range", [ByteRange(100, 299), ByteRange(None, 50), ByteRange(5000, None)])
async def test_a_registry_without_ranges(client: Client, registry: Scripted, range: ByteRange) -> None:
    registry.will(Reply(200, {}, TEXT))
    start, stop = range.resolve(len(TEXT)) or (0, 0)
    assert await read(client, range) == TEXT[start:stop]


async def test_another_range_than_requested(client: Client, registry: Scripted) -> None:
    registry.will(part(200, 300))
    with pytest.raises(HTTPError, match="another range"):
        await read(client, ByteRange(100, 199))


async def test_a_missing_length(client: Client, registry: Scripted) -> None:
    head = Reply(200, {"Content-Length": str(len(TEXT))})
    registry.will(Reply(200, {"Content-Length": "", "Connection": "close"}, TEXT, cut=True), head)
    assert await read(client) == TEXT


@pytest.mark.parametrize(
    "status, code",
    [
        (404, "BLOB_UNKNOWN"),
        (401, "UNAUTHORIZED"),
        (403, "DENIED"),
        (416, "RANGE_INVALID"),
        (405, "UNSUPPORTED"),
        (413, "SIZE_INVALID"),
    ],
)
async def test_a_status_without_a_body(client: Client, registry: Scripted, status: int, code: str) -> None:
    # A second answer for the GET that follows a refused HEAD.
    registry.will(Reply(status), Reply(status))
    with refused(code):
        await client.resolve_blob("project", DIGEST)
    assert len(registry.seen) == (2 if status == 405 else 1)


@pytest.mark.parametrize("refusal", [405, 501])
@pytest.mark.parametrize(
    "reply, size",
    [
        (Reply(206, {"Content-Range": f"bytes 0-0/{len(TEXT)}"}, TEXT[:1]), len(TEXT)),
        (Reply(200, {}, TEXT), len(TEXT)),
        (Reply(416, {"Content-Range": "bytes */0"}), 0),
        (Reply(416), 0),
    ],
)
async def test_a_registry_without_head_is_asked_for_a_blob_by_get(
    client: Client, registry: Scripted, refusal: int, reply: Reply, size: int
) -> None:
    # At each request: the registry may support HEAD after an upgrade.
    for _ in range(2):
        registry.will(Reply(refusal), reply)
        assert (await client.resolve_blob("project", DIGEST)).size == size
    assert [seen.method for seen in registry.seen] == ["HEAD", "GET", "HEAD", "GET"]
    assert registry.seen[1].headers["range"] == "bytes=0-0"
    registry.will(Reply(refusal), Reply(404))
    with refused("BLOB_UNKNOWN"):
        await client.resolve_blob("project", DIGEST)
    registry.will(Reply(refusal), Reply(206, {"Content-Range": "bytes 0-0/*"}, b"x"))
    with pytest.raises(HTTPError, match="size of the content"):
        await client.resolve_blob("project", DIGEST)


@pytest.mark.parametrize("refusal", [405, 501])
async def test_a_registry_without_head_is_asked_for_a_manifest_by_get(
    client: Client, registry: Scripted, refusal: int
) -> None:
    registry.will(Reply(refusal), Reply(200, JSON, b"{}"), Reply(refusal), Reply(200, JSON, b"{}"))
    assert (await client.resolve_tag("project", "latest")).digest == digest_of(b"{}")
    assert (await client.resolve_manifest("project", digest_of(b"{}"))).media_type == "application/json"
    assert [seen.method for seen in registry.seen] == ["HEAD", "GET", "HEAD", "GET"]


async def test_a_media_type_that_is_not_valid(client: Client, registry: Scripted) -> None:
    broken = {"Content-Type": "a\x01b"}
    for ask in (client.resolve_blob, client.get_blob, client.get_manifest):
        registry.will(Reply(200, broken, TEXT))
        with pytest.raises(HTTPError, match=r"Content-Type|media type") as caught:
            await ask("project", DIGEST)
        assert caught.value.status == 502
    # The bytes of a manifest may contain the type, also after a HEAD.
    typed = b'{"mediaType":"application/json"}'
    head = {**broken, "Docker-Content-Digest": digest_of(typed), "Content-Length": str(len(typed))}
    registry.will(Reply(200, head), Reply(200, broken, typed))
    assert (await client.resolve_tag("project", "latest")).media_type == "application/json"


@pytest.mark.parametrize(
    "body", [b"", b"<html>gone</html>", b"{", b"[]", b'{"errors":[]}', b'{"errors":[5]}', b'{"errors":[{"code":7}]}']
)
async def test_a_404_without_a_code(client: Client, registry: Scripted, body: bytes) -> None:
    registry.will(Reply(404, JSON, body))
    with refused("MANIFEST_UNKNOWN"):
        await client.get_manifest("project", DIGEST)


async def test_a_code_with_its_message_and_detail(client: Client, registry: Scripted) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"not today","detail":{"why":1}}]}'
    # Many registries send no Content-Type, or a wrong one.
    registry.will(Reply(403, {"Content-Type": "text/plain"}, body))
    with refused("DENIED") as caught:
        await client.get_tag("project", "latest")
    assert (caught.value.message, caught.value.detail) == ("not today", {"why": 1})


async def test_an_unknown_code_keeps_its_status(client: Client, registry: Scripted) -> None:
    registry.will(Reply(418, JSON, b'{"errors":[{"code":"TEAPOT"}]}'))
    with refused("TEAPOT") as caught:
        await client.get_tag("project", "latest")
    assert caught.value.status == 418


async def test_an_error_without_end(client: Client, registry: Scripted) -> None:
    registry.will(Reply(500, {"Content-Length": "1000000000"}, b'{"errors"'))
    with pytest.raises(HTTPError) as caught:
        await client.get_tag("project", "latest")
    assert caught.value.status == 500


@pytest.mark.parametrize("name", ["", "../x", "A", "a//b", "a?b", "a%2fb"])
async def test_a_malformed_name_is_not_sent(client: Client, registry: Scripted, name: str) -> None:
    with refused("NAME_INVALID"):
        await client.get_blob(name, DIGEST)
    with pytest.raises(OCIError):
        await client.get_tag("project", f"{name}/")
    assert registry.seen == []
