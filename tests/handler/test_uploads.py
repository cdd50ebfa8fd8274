"""Uploads over HTTP: where the body goes, what is answered, and what is kept when it goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ociserver import Backend, BlobWriter, Descriptor, Handler, Memory, OCIError
from tests.contract.contents import REPOSITORY, digest_of, push_blob, read_blob
from tests.handler.driver import Exchange, Reply, make_scope, request
from tests.handler.registry import UPLOADS

pytestmark = pytest.mark.anyio


async def upload_of(application: Handler, content: bytes = b"") -> str:
    """The Location of an upload that has this much."""
    location = (await request(application, "POST", UPLOADS))["location"]
    if content:
        location = (await request(application, "PATCH", location, content))["location"]
    return location


async def finish(application: Handler, location: str, content: bytes, body: bytes | None = None) -> Reply:
    return await request(application, "PUT", f"{location}?digest={digest_of(content)}", body)


async def test_a_start() -> None:
    reply = await request(Handler(Memory()), "POST", UPLOADS)
    assert (reply.status, reply.body, reply["content-length"], reply["range"]) == (202, b"", "0", "0-0")
    assert reply["location"].startswith(UPLOADS)
    assert reply["oci-chunk-min-length"].isdigit()


async def test_the_last_slash_may_be_missing() -> None:
    assert (await request(Handler(Memory()), "POST", UPLOADS.rstrip("/"))).status == 202


async def test_chunks() -> None:
    backend = Memory()
    application = Handler(backend)
    location = await upload_of(application)
    for body, header, progress in [(b"a", "0-0", "0-0"), (b"bcd", "1-3", "0-3"), (b"", "4-3", "0-3")]:
        reply = await request(application, "PATCH", location, body, {"content-range": header})
        assert (reply.status, reply["range"], reply.body) == (202, progress, b"")
        location = reply["location"]
    reply = await request(application, "GET", location)
    assert (reply.status, reply["range"], reply["location"], reply.body) == (204, "0-3", location, b"")
    reply = await finish(application, location, b"abcd")
    assert (reply.status, reply["location"]) == (201, f"/v2/{REPOSITORY}/blobs/{digest_of(b'abcd')}")
    assert reply["docker-content-digest"] == digest_of(b"abcd")
    assert await read_blob(backend, digest_of(b"abcd")) == b"abcd"
    assert (await request(application, "GET", location)).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize(
    "header, body, status, code",
    [
        ("4-6", b"efg", 200, ""),
        ("4-6", [b"ef", b"g"], 200, ""),
        # Unknown length: not checked.
        ("4-9", [b"efg"], 200, ""),
        ("4-4", b"e", 200, ""),
        # Without one the body is appended, as distribution does.
        (None, b"efg", 200, ""),
        (None, [b"e", b"fg"], 200, ""),
        (None, b"", 200, ""),
        # Behaviour G6: what some clients write for no bytes.
        ("4-3", b"", 200, ""),
        ("0-0", b"", 200, ""),
        ("0-0", b"e", 416, "RANGE_INVALID"),
        ("3-5", b"efg", 416, "RANGE_INVALID"),
        ("5-7", b"efg", 416, "RANGE_INVALID"),
        ("0-2", [b"efg"], 416, "RANGE_INVALID"),
        ("4-9", b"efg", 400, "UNSUPPORTED"),
        ("4-5", b"efg", 400, "UNSUPPORTED"),
        ("4-4", b"", 400, "UNSUPPORTED"),
        ("4", b"efg", 400, "UNSUPPORTED"),
        ("-3", b"efg", 400, "UNSUPPORTED"),
        ("4-", b"efg", 400, "UNSUPPORTED"),
        ("bytes 4-6/7", b"efg", 400, "UNSUPPORTED"),
        ("bytes=4-6", b"efg", 400, "UNSUPPORTED"),
        ("6-4", b"efg", 400, "UNSUPPORTED"),
        ("+4-6", b"efg", 400, "UNSUPPORTED"),
        ("4_0-42", b"efg", 400, "UNSUPPORTED"),
        ("\xb2-4", b"efg", 400, "UNSUPPORTED"),
        (f"{2**64}-{2**64 + 2}", b"efg", 400, "UNSUPPORTED"),
        (f"{2**63 - 3}-{2**63 - 1}", b"efg", 416, "RANGE_INVALID"),
        ("", b"efg", 400, "UNSUPPORTED"),
    ],
)
async def test_a_content_range(
    method: str, header: str | None, body: bytes | list[bytes], status: int, code: str
) -> None:
    """For an upload of four bytes. After a refused request, the upload continues at the same offset."""
    application = Handler(Memory())
    location = await upload_of(application, b"abcd")
    whole = b"abcd" + (body if isinstance(body, bytes) else b"".join(body))
    url = f"{location}?digest={digest_of(whole)}" if method == "PUT" else location
    reply = await request(application, method, url, body, {} if header is None else {"content-range": header})
    if status == 200:
        assert reply.status == (201 if method == "PUT" else 202)
        return
    assert (reply.status, reply.code) == (status, code)
    reply = await request(application, "GET", location)
    assert (reply.status, reply["range"]) == (204, "0-3")
    assert (await finish(application, location, b"abcd")).status == 201


async def test_the_closing_put_may_bring_everything() -> None:
    for body in (b"text", [b"te", b"", b"xt"]):
        application = Handler(Memory())
        location = await upload_of(application)
        reply = await request(application, "PUT", f"{location}?digest={digest_of(b'text')}", body)
        assert reply.status == 201


@pytest.mark.parametrize("body", [None, b"", [], [b""]])
async def test_nothing_can_be_uploaded(body: bytes | list[bytes] | None) -> None:
    application = Handler(Memory())
    url = await upload_of(application)
    assert (await request(application, "PATCH", url, body)).status == 202
    assert (await request(application, "PUT", f"{url}?digest={digest_of(b'')}", body)).status == 201
    assert (await request(application, "POST", f"{UPLOADS}?digest={digest_of(b'')}", body)).status == 201


async def test_a_wrong_digest_keeps_the_upload() -> None:
    application = Handler(Memory())
    location = await upload_of(application, b"text")
    reply = await finish(application, location, b"other")
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")
    # Its message does not quote what was uploaded.
    assert "text" not in reply.body.decode()
    assert (await finish(application, location, b"text")).status == 201


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
@pytest.mark.parametrize("told", [True, False])
async def test_another_algorithm(algorithm: str, *, told: bool) -> None:
    application = Handler(Memory())
    query = f"?digest-algorithm={algorithm}" if told else ""
    location = (await request(application, "POST", UPLOADS + query))["location"]
    await request(application, "PATCH", location, b"text")
    digest = digest_of(b"text", algorithm)
    reply = await request(application, "PUT", f"{location}?digest={digest}")
    assert (reply.status, reply["docker-content-digest"]) == (201, digest)


@pytest.mark.parametrize("algorithm", ["md5", "SHA256", "sha256:", "sha-256", "%00"])
async def test_an_algorithm_that_is_unknown(algorithm: str) -> None:
    reply = await request(Handler(Memory()), "POST", f"{UPLOADS}?digest-algorithm={algorithm}")
    assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


async def test_a_cancelled_upload() -> None:
    application = Handler(Memory())
    location = await upload_of(application, b"text")
    reply = await request(application, "DELETE", location)
    assert (reply.status, reply.body) == (204, b"")
    for method in ("GET", "PATCH", "DELETE"):
        assert (await request(application, method, location)).code == "BLOB_UPLOAD_UNKNOWN"
    assert (await finish(application, location, b"text")).status == 404


@pytest.mark.parametrize("size, body", [(4, b"other"), (5, b"text")])
async def test_a_blob_in_one_post_is_verified(size: int, body: bytes) -> None:
    application = Handler(Memory())
    reply = await request(application, "POST", f"{UPLOADS}?digest={digest_of(b'text')}", [body])
    if body == b"text":
        assert reply.status == 201
    else:
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")


async def test_mounts() -> None:
    backend = Memory()
    digest = await push_blob(backend, b"text", "source")
    application = Handler(backend)

    async def mount(query: str) -> Reply:
        return await request(application, "POST", f"{UPLOADS}?{query}")

    mounted = await mount(f"mount={digest}&from=source")
    assert (mounted.status, mounted["location"]) == (201, f"/v2/{REPOSITORY}/blobs/{digest}")
    assert mounted["docker-content-digest"] == digest
    assert (await mount(f"mount={digest}")).status == 201
    # `mount` wins over `digest`.
    assert (await mount(f"mount={digest}&from=source&digest={digest_of(b'?')}")).status == 201
    for query in (
        f"mount={digest_of(b'?')}&from=source",
        f"mount={digest}&from=no/such",
        f"mount={digest_of(b'?')}",
        "mount=",
    ):
        reply = await mount(query)
        assert (reply.status, reply["range"]) == (202, "0-0")
        assert (await finish(application, reply["location"], b"new", b"new")).status == 201


async def test_a_mount_that_is_denied_is_no_upload() -> None:
    class Strict(Memory):
        async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
            raise OCIError("DENIED")

    reply = await request(Handler(Strict()), "POST", f"{UPLOADS}?mount={digest_of(b'')}&from=a")
    assert (reply.status, reply.code) == (403, "DENIED")


class Elsewhere(Backend):
    """Uploads whose ids are URLs of another registry, as a proxy has them."""

    ID = "https://other.example/v2/a/blobs/uploads/1?state=a%2Fb&x=é#fragment 100% ✓"

    def __init__(self) -> None:
        self.resumed: list[tuple[str, int | None, str | None]] = []

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        return Upload(self.ID)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        self.resumed.append((upload_id, offset, digest))
        return Upload(upload_id)


class Upload:
    chunk_size = 0
    size = 0

    def __init__(self, upload_id: str) -> None:
        self.id = upload_id

    async def write(self, data: bytes) -> None:
        self.size += len(data)

    async def commit(self, digest: str) -> Descriptor:
        return Descriptor("application/octet-stream", digest, self.size)

    async def cancel(self) -> None:
        self.id = ""

    async def aclose(self) -> None:
        self.size = -1


async def test_an_id_of_any_characters_survives() -> None:
    backend = Elsewhere()
    application = Handler(backend)
    location = (await request(application, "POST", UPLOADS))["location"]
    assert location.isascii()
    assert "?" not in location
    reply = await request(application, "PATCH", location, b"text")
    assert (reply.status, reply.all("oci-chunk-min-length")) == (202, [])
    await finish(application, reply["location"], b"text")
    await request(application, "GET", location)
    await request(application, "DELETE", location)
    # One call of the backend for each request; the closing one tells the digest before the body comes.
    assert backend.resumed == [
        (Elsewhere.ID, None, None),
        (Elsewhere.ID, None, digest_of(b"text")),
        (Elsewhere.ID, None, None),
        (Elsewhere.ID, None, None),
    ]


async def test_two_patches_at_once() -> None:
    """The second one gets 416, and what the first one brings is whole."""
    application = Handler(Memory())
    location = await upload_of(application)
    first_piece_taken, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[dict[str, object]]:
        yield {"type": "http.request", "body": bytes(600_000), "more_body": True}
        yield {"type": "http.request", "body": bytes(600_000), "more_body": True}
        first_piece_taken.set()
        await go_on.wait()
        yield {"type": "http.request", "body": b"end", "more_body": False}

    messages = slow()
    exchange = Exchange([])
    scope = make_scope("PATCH", location, [("transfer-encoding", "chunked")])
    first = asyncio.ensure_future(application(scope, messages.__anext__, exchange.send))
    await first_piece_taken.wait()
    second = await request(application, "PATCH", location, b"other", {"content-range": "0-4"})
    assert (second.status, second.code) == (416, "RANGE_INVALID")
    go_on.set()
    await first
    assert (exchange.reply.status, exchange.reply["range"]) == (202, "0-1200002")
    assert (await finish(application, location, bytes(1_200_000) + b"end")).status == 201
