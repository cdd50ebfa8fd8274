"""Errors of the backend on their way to the client: coded, bounded, and without what is not meant for it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ociserver import Backend, Descriptor, Handler, HTTPError, Manifest, Memory, OCIError
from tests.contract.contents import BINARY, IMAGE, digest_of
from tests.handler.driver import Exchange, body_messages, make_scope, request
from tests.handler.registry import BLOB, CONTENT, MANIFEST, REFERRERS, TAG, TAGS, UPLOADS

pytestmark = pytest.mark.anyio


class Failing(Backend):
    """Raises the same error from everything that is asked of it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def get_blob(self, *_: Any, **__: Any) -> Any:
        raise self.error

    async def resolve_blob(self, *_: Any, **__: Any) -> Descriptor:
        raise self.error

    async def get_tag(self, *_: Any, **__: Any) -> Manifest:
        raise self.error

    async def tags(self, *_: Any, **__: Any) -> AsyncIterator[str]:
        yield "one"
        raise self.error

    async def push_manifest(self, *_: Any, **__: Any) -> Any:
        raise self.error


async def failed(error: BaseException, method: str = "GET", path: str = TAG) -> Any:
    return await request(Handler(Failing(error)), method, path)


@pytest.mark.parametrize(
    "error, status, code",
    [
        (OCIError("MANIFEST_UNKNOWN"), 404, "MANIFEST_UNKNOWN"),
        (OCIError("DENIED"), 403, "DENIED"),
        (OCIError("UNAUTHORIZED"), 401, "UNAUTHORIZED"),
        (OCIError("TOOMANYREQUESTS"), 429, "TOOMANYREQUESTS"),
        # An error's own status beats the table.
        (OCIError("SIZE_INVALID", status=413), 413, "SIZE_INVALID"),
        (OCIError("UNKNOWN", "the registry is full", status=507), 507, "UNKNOWN"),
        (HTTPError(503), 503, "UNKNOWN"),
        (HTTPError(418), 418, "UNKNOWN"),
        (OCIError("OWN_CODE"), 500, "OWN_CODE"),
    ],
)
async def test_a_coded_error(error: Exception, status: int, code: str) -> None:
    reply = await failed(error)
    assert (reply.status, reply.code) == (status, code)
    assert reply["content-type"] == "application/json"
    assert reply["content-length"] == str(len(reply.body))


async def test_headers_of_an_error() -> None:
    reply = await failed(OCIError("TOOMANYREQUESTS", headers={"Retry-After": "30"}))
    assert (reply.status, reply["retry-after"]) == (429, "30")
    reply = await failed(OCIError("UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="x"'}))
    assert (reply.status, reply["www-authenticate"]) == (401, 'Basic realm="x"')
    reply = await failed(HTTPError(503, headers={"Retry-After": "1"}), "HEAD", BLOB)
    assert (reply.status, reply["retry-after"], reply.body) == (503, "1", b"")


async def test_a_detail() -> None:
    reply = await failed(OCIError("DENIED", "no", detail={"action": "pull", "list": [1, None, "grüße"]}))
    assert reply.json()["errors"] == [
        {"code": "DENIED", "message": "no", "detail": {"action": "pull", "list": [1, None, "grüße"]}}
    ]


@pytest.mark.parametrize("error", [LookupError("a secret"), OSError(5, "/a/secret/path"), ValueError(), KeyError("x")])
@pytest.mark.parametrize("method, path", [("GET", TAG), ("GET", BLOB), ("HEAD", BLOB), ("PUT", TAG)])
async def test_any_other_error_is_kept_from_the_client(
    error: Exception, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "ociserver"):
        reply = await request(Handler(Failing(error)), method, path, headers={"x-request-id": "find-me"})
    assert reply.status == 500
    if method != "HEAD":
        assert (reply.code, reply.message) == ("UNKNOWN", "internal server error (request find-me)")
    (record,) = caplog.records
    assert "find-me" in record.getMessage()
    assert record.exc_info
    assert record.exc_info[1] is error


async def test_a_client_error_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ociserver"):
        await failed(OCIError("MANIFEST_UNKNOWN"))
    assert not caplog.records


async def test_an_error_in_the_middle_of_a_list_is_not_hidden() -> None:
    """The first name was not sent yet, so the whole answer is the error."""
    reply = await failed(OCIError("DENIED"), path=TAGS)
    assert (reply.status, reply.code) == (403, "DENIED")


class Nothing:
    """A backend with one method, that has never heard of ours."""

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return Manifest(Descriptor(IMAGE, digest_of(CONTENT), len(CONTENT)), CONTENT)


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", BLOB),
        ("HEAD", BLOB),
        ("DELETE", BLOB),
        ("POST", UPLOADS),
        ("POST", f"{UPLOADS}?digest={digest_of(b'')}"),
        ("POST", f"{UPLOADS}?mount={digest_of(b'')}&from=a"),
        ("GET", UPLOADS + "YWJj"),
        ("PATCH", UPLOADS + "YWJj"),
        ("PUT", f"{UPLOADS}YWJj?digest={digest_of(b'')}"),
        ("DELETE", UPLOADS + "YWJj"),
        ("GET", MANIFEST),
        ("HEAD", MANIFEST),
        ("HEAD", TAG),
        ("PUT", TAG),
        ("DELETE", TAG),
        ("DELETE", MANIFEST),
        ("GET", TAGS),
        ("GET", TAGS + "?n=5"),
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/_catalog?n=5"),
        ("GET", REFERRERS),
    ],
)
@pytest.mark.parametrize("backend", [Nothing(), Backend()], ids=["any object", "Backend"])
async def test_a_backend_without_the_method(backend: Any, method: str, path: str) -> None:
    reply = await request(Handler(backend), method, path)
    assert reply.status == 400
    if method != "HEAD":
        assert reply.code == "UNSUPPORTED"


async def test_a_backend_with_the_method() -> None:
    reply = await request(Handler(Nothing()), "GET", TAG)
    assert (reply.status, reply.body) == (200, CONTENT)
    assert (await request(Handler(Nothing()), "GET", "/v2/")).status == 200


@pytest.mark.parametrize("backend", [None, object(), "memory", 5])
async def test_no_backend_at_all(backend: Any) -> None:
    with pytest.raises(TypeError, match="is not a backend"):
        Handler(backend)


class Source(Backend):
    """Gives these pieces for a blob of which it has said that it has `size` bytes."""

    def __init__(self, size: int, *pieces: bytes) -> None:
        self.descriptor = Descriptor(BINARY, digest_of(b""), size)
        self.range = (0, size)
        self.location = None
        self.closed = 0
        self._pieces = pieces

    async def get_blob(self, *_: Any, **__: Any) -> Any:
        return self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    "size, pieces", [(5, [b"text"]), (5, []), (5, [b"te", b""]), (3, [b"text"]), (3, [b"te", b"xt"])]
)
async def test_a_blob_of_another_length_is_never_completed(size: int, pieces: list[bytes]) -> None:
    """The server then closes the connection, and the client sees that something is missing."""
    backend = Source(size, *pieces)
    exchange = Exchange(body_messages([]))
    with pytest.raises(RuntimeError, match=f"of {size} bytes"):
        await Handler(backend)(make_scope("GET", BLOB), exchange.receive, exchange.send)
    assert exchange.reply["content-length"] == str(size)
    assert not exchange.reply.complete
    assert len(exchange.reply.body) <= size
    assert backend.closed == 1


async def test_a_blob_that_breaks_off_is_never_completed() -> None:
    class Broken(Source):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"te"
            raise OSError("the disk is gone")

    backend = Broken(4)
    exchange = Exchange(body_messages([]))
    with pytest.raises(OSError, match="the disk is gone"):
        await Handler(backend)(make_scope("GET", BLOB), exchange.receive, exchange.send)
    assert (exchange.reply.complete, exchange.reply.body, backend.closed) == (False, b"te", 1)


async def test_a_reader_is_closed() -> None:
    backend = Source(4, b"te", b"xt")
    reply = await request(Handler(backend), "GET", BLOB)
    assert (reply.body, backend.closed) == (b"text", 1)


async def test_a_full_registry() -> None:
    reply = await request(
        Handler(Memory(max_bytes=5)), "POST", f"{UPLOADS}?digest={digest_of(b'too much')}", b"too much"
    )
    assert (reply.status, reply.code) == (507, "UNKNOWN")
    assert "full" in reply.message
