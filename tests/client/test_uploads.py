"""Uploads: in one request, in chunks, through broken connections, and their Locations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from ociserver import UNKNOWN_SIZE, Descriptor, HTTPError, OCIError
from ociserver.adapt import refresh
from ociserver.client import Basic, Client, UnreachableError
from ociserver.client.limits import SINGLE_POST_SIZE
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import BINARY, digest_of, pieces_of
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

TEXT = b"0123456789"
DIGEST = digest_of(TEXT)
LARGE = bytes(range(256)) * 1024
LARGE_DIGEST = digest_of(LARGE)
HERE = "/v2/project/blobs/uploads/1"
STARTED = Reply(202, {"Location": HERE})
CREATED = Reply(201)


def quoted(digest: str) -> str:
    return digest.replace(":", "%3A")


def at(size: int, location: str = HERE) -> Reply:
    """The answer for an upload with this number of bytes."""
    return Reply(204, {"Location": location, "Range": f"0-{size - 1}"})


def taken(size: int, location: str = HERE) -> Reply:
    return Reply(202, {"Location": location, "Range": f"0-{size - 1}"})


async def push(client: Client, content: bytes, size: int | None = None) -> Descriptor:
    described = Descriptor(BINARY, digest_of(content), len(content) if size is None else size)
    return await client.push_blob("project", described, pieces_of(content[:100_000], content[100_000:]))


async def test_a_small_blob_is_one_request(client: Client, registry: Scripted) -> None:
    registry.will(CREATED)
    assert await push(client, TEXT) == Descriptor(BINARY, DIGEST, len(TEXT))
    assert registry.lines == [f"POST /v2/project/blobs/uploads/?digest={quoted(DIGEST)}"]
    assert registry.seen[0].body == TEXT
    assert registry.seen[0].headers["content-length"] == "10"


async def test_a_registry_without_single_posts_is_asked_once(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, CREATED, STARTED, CREATED)
    await push(client, TEXT)
    await push(client, TEXT)
    put = f"PUT {HERE}?digest={quoted(DIGEST)}"
    assert registry.lines == [
        f"POST /v2/project/blobs/uploads/?digest={quoted(DIGEST)}",
        put,
        "POST /v2/project/blobs/uploads/",
        put,
    ]
    assert [seen.body for seen in registry.seen] == [TEXT, TEXT, b"", TEXT]


@pytest.mark.parametrize("size", [len(LARGE), UNKNOWN_SIZE])
async def test_a_large_blob_is_a_post_and_a_put(client: Client, registry: Scripted, size: int) -> None:
    registry.will(STARTED, CREATED)
    assert (await push(client, LARGE, size)).size == len(LARGE) > SINGLE_POST_SIZE
    assert registry.lines == ["POST /v2/project/blobs/uploads/", f"PUT {HERE}?digest={quoted(LARGE_DIGEST)}"]
    assert registry.seen[1].body == LARGE
    assert registry.seen[1].headers.get("content-length") == (str(size) if size >= 0 else None)


async def test_a_refusal_before_the_end_of_the_body(client: Client, registry: Scripted) -> None:
    """The client deletes the upload, because no caller has its id."""
    body = b'{"errors":[{"code":"DENIED","message":"full"}]}'
    registry.will(STARTED, Reply(403, {}, body, take=1000, cut=True), Reply(204))

    async def pieces() -> AsyncIterator[bytes]:
        # Less than the buffers of a connection, so that the answer arrives before the end of the body.
        for _ in range(1_000_000):
            yield bytes(1000)

    with pytest.raises((OCIError, UnreachableError)) as caught:
        await client.push_blob("project", Descriptor(BINARY, LARGE_DIGEST, UNKNOWN_SIZE), pieces())
    assert getattr(caught.value, "code", "DENIED") == "DENIED"
    await client.__aexit__(None, None, None)
    assert registry.lines[-1] == f"DELETE {HERE}"


async def test_a_source_that_fails(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, Reply(None), Reply(204))

    async def pieces() -> AsyncIterator[bytes]:
        yield TEXT
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.push_blob("project", Descriptor(BINARY, LARGE_DIGEST, len(LARGE)), pieces())


async def test_the_newest_location_counts(client: Client, registry: Scripted) -> None:
    registry.will(
        Reply(202, {"Location": "/v2/project/blobs/uploads/1?_state=a%2Bb=="}),
        taken(5, f"{HERE}?_state=c"),
        Reply(201),
    )
    async with aclosing(await client.push_blob_chunked("project", chunk_size=5)) as writer:
        await writer.write(TEXT[:5])
        assert writer.id == "1?_state=c"
        await writer.write(TEXT[5:9])
        await writer.commit(digest_of(TEXT[:9]))
    assert registry.lines[1:] == [
        "PATCH /v2/project/blobs/uploads/1?_state=a%2Bb==",
        f"PUT {HERE}?_state=c&digest={quoted(digest_of(TEXT[:9]))}",
    ]
    assert [seen.headers.get("content-range") for seen in registry.seen] == [None, "0-4", "5-8"]


async def test_chunks_have_the_registrys_minimum_size(client: Client, registry: Scripted) -> None:
    registry.will(Reply(202, {"Location": HERE, "OCI-Chunk-Min-Length": "8"}), taken(8), CREATED)
    async with aclosing(await client.push_blob_chunked("project", chunk_size=3)) as writer:
        assert writer.chunk_size == 8
        for byte in TEXT:
            await writer.write(bytes([byte]))
        await writer.commit(DIGEST)
    assert [seen.body for seen in registry.seen] == [b"", TEXT[:8], TEXT[8:]]


async def test_a_minimum_size_that_is_too_large(client: Client, registry: Scripted) -> None:
    registry.will(Reply(202, {"Location": HERE, "OCI-Chunk-Min-Length": str(10**12)}))
    with refused("UNSUPPORTED"):
        await client.push_blob_chunked("project")


@pytest.mark.parametrize("arrived", [0, 1, 4, 10])
async def test_an_interrupted_chunk_is_resumed(client: Client, registry: Scripted, arrived: int) -> None:
    progress = Reply(204, {"Location": HERE, "Range": f"0-{max(arrived - 1, 0)}", "Upload-Offset": str(arrived)})
    rest = [taken(10)] if arrived < 10 else []
    registry.will(STARTED, Reply(None, take=arrived), progress, *rest, CREATED)
    async with aclosing(await client.push_blob_chunked("project", chunk_size=10)) as writer:
        await writer.write(TEXT)
        assert (await writer.commit(DIGEST)).size == 10
    sent = [(seen.method, seen.headers.get("content-range"), seen.body) for seen in registry.seen[3:]]
    again = [("PATCH", f"{arrived}-9", TEXT[arrived:])] if arrived < 10 else []
    assert sent == [*again, ("PUT", None, b"")]


async def test_a_chunk_that_always_breaks_off(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, *[reply for _ in range(20) for reply in (Reply(None), at(0 + 1))])
    writer = await client.push_blob_chunked("project", chunk_size=10)
    with pytest.raises(UnreachableError):
        await writer.write(TEXT)
    assert len(registry.seen) < 12


async def test_an_upload_with_an_unexpected_size(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, Reply(None), at(4000))
    writer = await client.push_blob_chunked("project", chunk_size=10)
    with refused("RANGE_INVALID"):
        await writer.write(TEXT)


async def test_a_commit_whose_answer_was_lost(client: Client, registry: Scripted) -> None:
    """Only the answer was lost: the upload no longer exists, and the blob does."""
    registry.will(STARTED, Reply(None), Reply(404), Reply(200, {"Content-Length": "10"}))
    async with aclosing(await client.push_blob_chunked("project")) as writer:
        await writer.write(TEXT)
        await writer.commit(DIGEST)
    assert [seen.method for seen in registry.seen] == ["POST", "PUT", "GET", "HEAD"]


async def test_a_commit_that_was_lost(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, Reply(None), Reply(404), Reply(404))
    writer = await client.push_blob_chunked("project")
    await writer.write(TEXT)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await writer.commit(DIGEST)


async def left(client: Client) -> str:
    """The id of an upload that was begun and left, as after a request to a server in front of the client."""
    async with aclosing(await client.push_blob_chunked("project")) as writer:
        return writer.id


async def test_a_body_is_one_request(client: Client, registry: Scripted) -> None:
    """POST, PATCH, PUT to our handler become POST, PATCH, PUT to the registry, for every size of pieces."""
    registry.will(STARTED, taken(10), CREATED)
    upload_id = await left(client)
    async with aclosing(await client.push_blob_chunked_resume("project", upload_id, offset=None)) as writer:
        for byte in TEXT:
            await writer.write(bytes([byte]))
    closing = await client.push_blob_chunked_resume("project", writer.id, offset=None, digest=DIGEST)
    async with aclosing(closing):
        await closing.commit(DIGEST)
    assert [(seen.method, seen.body) for seen in registry.seen] == [("POST", b""), ("PATCH", TEXT), ("PUT", b"")]
    assert all("content-range" not in seen.headers for seen in registry.seen)


async def test_a_closing_body_is_the_closing_request(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, CREATED)
    writer = await client.push_blob_chunked_resume("project", await left(client), offset=None, digest=DIGEST)
    async with aclosing(writer):
        await writer.write(TEXT[:3])
        await writer.write(TEXT[3:])
        await writer.commit(DIGEST)
    assert [(seen.method, seen.body) for seen in registry.seen] == [("POST", b""), ("PUT", TEXT)]


async def test_an_interrupted_closing_body_does_not_close_the_upload(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, CREATED)
    writer = await client.push_blob_chunked_resume("project", await left(client), offset=None, digest=DIGEST)
    await writer.write(TEXT[:3])
    await writer.aclose()
    # The registry did not get the end of the body, so this was not a complete request.
    assert [seen.method for seen in registry.seen] == ["POST"]


@pytest.mark.parametrize("there, sent", [(0, None), (4, "4-13")])
async def test_the_size_of_another_processs_upload_is_requested(
    client: Client, registry: Scripted, there: int, sent: str | None
) -> None:
    """A body for an empty upload is streamed. For other uploads it is sent with its offset."""
    progress = Reply(204, {"Location": HERE, "Upload-Offset": str(there)})
    registry.will(progress, taken(there + 10))
    async with aclosing(await client.push_blob_chunked_resume("project", "1", offset=None)) as writer:
        assert writer.size == there
        await writer.write(TEXT)
    assert [(seen.method, seen.body) for seen in registry.seen] == [("GET", b""), ("PATCH", TEXT)]
    assert registry.seen[1].headers.get("content-range") == sent
    assert writer.size == there + 10


async def test_a_given_offset_is_sent(client: Client, registry: Scripted) -> None:
    registry.will(STARTED, Reply(416))
    upload_id = await left(client)
    with refused("RANGE_INVALID"):
        async with aclosing(await client.push_blob_chunked_resume("project", upload_id, offset=0)) as writer:
            await writer.write(TEXT)
    assert registry.seen[1].headers["content-range"] == "0-9"


async def test_an_upload_that_another_process_has_continued(client: Client, registry: Scripted) -> None:
    """This process's size of the upload is outdated. So the client asks, and appends the body."""
    registry.will(STARTED, taken(3), at(5), Reply(416), at(7), taken(17))
    upload_id = await left(client)
    async with aclosing(await client.push_blob_chunked_resume("project", upload_id, offset=None)) as writer:
        await writer.write(TEXT[:3])
    # A caller that only asks gets the current size.
    async with aclosing(await client.push_blob_chunked_resume("project", upload_id, offset=None)) as writer:
        assert writer.size == 3
        await refresh(writer)
        assert writer.size == 5
    async with aclosing(await client.push_blob_chunked_resume("project", upload_id, offset=None)) as writer:
        await writer.write(b"")
    async with aclosing(await client.push_blob_chunked_resume("project", upload_id, offset=None)) as writer:
        await writer.write(TEXT)
    assert writer.size == 17
    ranges = [(seen.method, seen.headers.get("content-range")) for seen in registry.seen]
    assert ranges == [
        ("POST", None),
        ("PATCH", None),
        ("GET", None),
        ("PATCH", "5-14"),
        ("GET", None),
        ("PATCH", "7-16"),
    ]


async def test_a_location_on_another_host_gets_no_credentials(registry: Scripted, elsewhere: Scripted) -> None:
    registry.will(Reply(202, {"Location": f"{elsewhere.url}/storage/1?key=x"}))
    elsewhere.will(CREATED)
    async with Client(registry.url, authorization=Basic("user", "password"), retries=HURRIED) as client:
        await push(client, LARGE)
    assert "authorization" not in elsewhere.seen[0].headers
    assert elsewhere.lines == [f"PUT /storage/1?key=x&digest={quoted(LARGE_DIGEST)}"]


async def test_an_id_is_valid_for_clients_with_the_same_key(registry: Scripted, elsewhere: Scripted) -> None:
    registry.will(Reply(202, {"Location": f"{elsewhere.url}/storage/1"}), STARTED)
    async with (
        Client(registry.url, upload_key=b"shared") as one,
        Client(registry.url, upload_key=b"shared") as two,
        Client(registry.url) as stranger,
    ):
        moved, plain = (await one.push_blob_chunked("project")).id, (await one.push_blob_chunked("project")).id
        elsewhere.will(at(5, ""))
        async with aclosing(await two.push_blob_chunked_resume("project", moved, offset=None)) as writer:
            assert writer.size == 5
        registry.will(at(6))
        async with aclosing(await stranger.push_blob_chunked_resume("project", plain, offset=None)) as writer:
            assert writer.size == 6
        for client, repository in ((stranger, "project"), (two, "other")):
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await client.push_blob_chunked_resume(repository, moved, offset=None)


@pytest.mark.parametrize(
    "upload_id",
    [
        "..",
        ".",
        "../../other/blobs/uploads/1",
        "../manifests/latest",
        "%2e%2e",
        "1/../../../x",
        "/v2/other/blobs/uploads/1",
        "http://127.0.0.1/",
        "<>http://127.0.0.1/",
        f"<{'0' * 64}>http://127.0.0.1/",
        "1#x",
        "1 x",
        "1\r\nX: y",
        "1\\x",
        "1?a#b",
        "",
    ],
)
async def test_a_forged_id_is_refused(client: Client, registry: Scripted, upload_id: str) -> None:
    """The id comes from our clients, and requests with our credentials go to the URL in it."""
    for offset in (None, 0, 5):
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await client.push_blob_chunked_resume("project", upload_id, offset=offset)
    assert registry.seen == []


@pytest.mark.parametrize("location", ["", "/" + "x" * 5000, "http://[broken"])
async def test_a_location_that_is_not_valid(client: Client, registry: Scripted, location: str) -> None:
    registry.will(Reply(202, {"Location": location}))
    with pytest.raises(HTTPError):
        _ = (await client.push_blob_chunked("project")).id


async def test_a_mount_that_starts_an_upload_instead(registry: Scripted) -> None:
    registry.will(STARTED, Reply(204))
    async with Client(registry.url, retries=HURRIED) as client:
        with refused("UNSUPPORTED"):
            await client.mount_blob("from/here", "project", DIGEST)
    # The client deletes the upload that nobody needs.
    assert registry.lines == [
        f"POST /v2/project/blobs/uploads/?mount={quoted(DIGEST)}&from=from%2Fhere",
        f"DELETE {HERE}",
    ]


async def test_a_registry_without_the_tag_parameter(client: Client, registry: Scripted) -> None:
    registry.will(CREATED, CREATED, CREATED)
    pushed = await client.push_manifest("project", b"{}", "application/json", tags=["a", "b"])
    assert pushed.tags == ("a", "b")
    digest = digest_of(b"{}")
    assert registry.lines == [
        f"PUT /v2/project/manifests/{digest}?tag=a&tag=b",
        "PUT /v2/project/manifests/a",
        "PUT /v2/project/manifests/b",
    ]


async def test_a_registry_with_the_tag_parameter(client: Client, registry: Scripted) -> None:
    registry.will(Reply(201, [("OCI-Tag", "a, c"), ("OCI-Tag", "b"), ("OCI-Subject", DIGEST)]))
    pushed = await client.push_manifest("project", b"{}", "application/json", tags=["a", "b", "c"])
    assert (pushed.tags, pushed.subject) == (("a", "b", "c"), DIGEST)
