"""Mistakes in a backend of one's own: the log names the method and what it must do, and the client gets a coded 500."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from ociserver import Backend, Descriptor, Handler, Manifest, Memory, OCIError, PushedManifest
from ociserver.compose import Immutable, ReadOnly
from tests.contract.contents import BINARY, IMAGE, digest_of
from tests.handler.driver import Exchange, Reply, body_messages, make_scope, request
from tests.handler.registry import BLOB, CONTENT, DIGEST, REFERRERS, TAG, TAGS, UPLOADS

pytestmark = pytest.mark.anyio

DESCRIPTOR = Descriptor(IMAGE, DIGEST, len(CONTENT))
MANIFEST = Manifest(DESCRIPTOR, CONTENT)
UPLOAD = UPLOADS + "YWJj"


async def later(value: Any) -> Any:
    return value


async def none() -> None:
    """Do nothing."""


async def pieces(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        yield item


def mistaken(name: str, method: Any) -> Backend:
    """A backend with one method."""
    return type("Mine", (Backend,), {name: method})()  # type: ignore[no-any-return]


def returning(name: str, value: Any, *, is_async: bool = True) -> Backend:
    async def awaited(*_: Any, **__: Any) -> Any:
        return value() if callable(value) and not isinstance(value, type) else value

    def plain(*_: Any, **__: Any) -> Any:
        return value() if callable(value) and not isinstance(value, type) else value

    return mistaken(name, awaited if is_async else plain)


def reader(**fields: Any) -> Any:
    """A reader in which something may be wrong."""
    found = {"descriptor": Descriptor(BINARY, digest_of(b"text"), 4), "range": (0, 4), "location": None}
    methods = {"__aiter__": lambda _self: pieces(b"text"), "aclose": lambda _self: none()}
    return type("MyReader", (), found | methods | fields)()


def writer(**fields: Any) -> Any:
    found: dict[str, Any] = {"id": "abc", "size": 0, "chunk_size": 0}
    for name in ("write", "commit"):
        found[name] = lambda _self, _data: later(DESCRIPTOR)
    for name in ("cancel", "aclose"):
        found[name] = lambda _self: none()
    return type("MyWriter", (), found | fields)()


async def failed(backend: Any, method: str, path: str, caplog: pytest.LogCaptureFixture, **more: Any) -> str:
    """What the log says. The client gets a 500 with a code, and not the message."""
    with caplog.at_level(logging.ERROR, "ociserver"):
        reply = await request(Handler(backend), method, path, headers={"x-request-id": "find-me"}, **more)
    assert reply.status == 500
    if method != "HEAD":
        assert (reply.code, reply.message) == ("UNKNOWN", "internal server error (request find-me)")
    (record,) = caplog.records
    message = record.getMessage()
    assert "find-me" in message
    assert path.partition("?")[0] in message
    return message


RESULTS: list[tuple[Backend, str, str, str]] = [
    (returning("get_tag", MANIFEST, is_async=False), "GET", TAG, "Mine.get_tag returned a Manifest, which cannot be"),
    (returning("get_tag", lambda: later(MANIFEST)), "GET", TAG, "Mine.get_tag returned a coroutine (is an `await`"),
    (returning("get_tag", None), "GET", TAG, "Mine.get_tag returned None; it must return an ociserver.Manifest"),
    (returning("get_tag", CONTENT), "GET", TAG, "Mine.get_tag returned a bytes; it must return an ociserver.Manifest"),
    (returning("get_tag", Manifest), "GET", TAG, "Mine.get_tag returned the class Manifest"),
    (
        returning("get_tag", Manifest(DESCRIPTOR, CONTENT.decode())),  # type: ignore[arg-type]
        "GET",
        TAG,
        "Mine.get_tag returned a Manifest whose content is a str; it must be bytes",
    ),
    (
        returning("get_tag", Manifest({"digest": DIGEST}, CONTENT)),  # type: ignore[arg-type]
        "GET",
        TAG,
        "Mine.get_tag returned a Manifest whose descriptor is a dict",
    ),
    (returning("resolve_tag", None), "HEAD", TAG, "Mine.resolve_tag returned None; it must return an ociserver.Desc"),
    (
        returning("resolve_blob", Descriptor(BINARY, DIGEST, "4")),  # type: ignore[arg-type]
        "HEAD",
        BLOB,
        "Mine.resolve_blob returned a Descriptor whose size is a str; it must be an int, in bytes",
    ),
    (
        returning("resolve_tag", Descriptor(IMAGE, DIGEST, -1)),
        "HEAD",
        TAG,
        "Mine.resolve_tag returned a Descriptor whose size is -1; it must be the number of bytes",
    ),
    (returning("get_blob", b"text"), "GET", BLOB, "Mine.get_blob returned a bytes, which has no __aiter__; it must"),
    (returning("get_blob", lambda: pieces(b"text")), "GET", BLOB, "Mine.get_blob returned an async_generator, which"),
    (returning("get_blob", reader(range=4)), "GET", BLOB, "Mine.get_blob returned a reader whose range is an int"),
    (returning("push_blob", None), "POST", f"{UPLOADS}?digest={DIGEST}", "Mine.push_blob returned None; it must"),
    (returning("push_blob_chunked", "id"), "POST", UPLOADS, "Mine.push_blob_chunked returned a str, which has no id"),
    (
        returning("push_blob_chunked_resume", writer(size="4")),
        "GET",
        UPLOAD,
        "Mine.push_blob_chunked_resume returned a writer whose size is a str; it must be int",
    ),
    (
        returning("push_blob_chunked_resume", writer(commit=lambda _self, _digest: later(None))),
        "PUT",
        f"{UPLOAD}?digest={DIGEST}",
        "the writer of Mine.push_blob_chunked_resume, MyWriter, method commit, returned None; it must return an",
    ),
    (
        returning("push_manifest", PushedManifest(DESCRIPTOR, tags="latest")),  # type: ignore[arg-type]
        "PUT",
        TAG,
        "Mine.push_manifest returned a PushedManifest whose tags are a str",
    ),
    (returning("push_manifest", DESCRIPTOR), "PUT", TAG, "returned a Descriptor; it must return an ociserver.PushedMa"),
    (returning("delete_tag", None, is_async=False), "DELETE", TAG, "Mine.delete_tag returned None, which cannot be"),
    (
        returning("tags", ["a"], is_async=False),
        "GET",
        TAGS,
        "Mine.tags returned a list; it must return an asynchronous",
    ),
    (returning("tags", None, is_async=False), "GET", TAGS, "Mine.tags returned None; it must return an asynchronous"),
    (returning("tags", lambda: later(["a"]), is_async=False), "GET", TAGS, "Mine.tags returned a coroutine"),
    (returning("tags", lambda: pieces("a", 5), is_async=False), "GET", TAGS, "Mine.tags gave an int; it must give str"),
    (returning("tags", lambda: pieces(None, "a"), is_async=False), "GET", f"{TAGS}?n=1", "Mine.tags gave None; it"),
    (
        returning("repositories", lambda: pieces(b"a"), is_async=False),
        "GET",
        "/v2/_catalog",
        "Mine.repositories gave a bytes; it must give str",
    ),
    (
        returning("referrers", lambda: pieces(DIGEST), is_async=False),
        "GET",
        REFERRERS,
        "Mine.referrers gave a str; it must give ociserver.Descriptor",
    ),
    (
        returning("referrers", lambda: pieces(Descriptor(IMAGE, DIGEST, None)), is_async=False),  # type: ignore[arg-type]
        "GET",
        REFERRERS,
        "Mine.referrers gave a Descriptor whose size is None",
    ),
]


@pytest.mark.parametrize("backend, method, path, text", RESULTS, ids=[case[3][:60] for case in RESULTS])
async def test_a_wrong_result(
    backend: Backend, method: str, path: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    more = {"body": CONTENT} if method == "PUT" else {}
    assert text in await failed(backend, method, path, caplog, **more)


@pytest.mark.parametrize("wrap", [ReadOnly, Immutable, lambda inner: ReadOnly(Immutable(inner))])
async def test_behind_wrappers_the_backend_is_named(wrap: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert "Mine.get_tag returned None" in await failed(wrap(returning("get_tag", None)), "GET", TAG, caplog)
    caplog.clear()
    listed = returning("tags", lambda: pieces(5), is_async=False)
    assert "Mine.tags gave an int" in await failed(wrap(listed), "GET", TAGS, caplog)


async def test_any_object_is_checked(caplog: pytest.LogCaptureFixture) -> None:
    backend = SimpleNamespace(get_tag=lambda _repository, _tag: later(None))
    assert "SimpleNamespace.get_tag returned None" in await failed(backend, "GET", TAG, caplog)


async def test_a_method_of_a_subclass_of_ours_is_checked(caplog: pytest.LogCaptureFixture) -> None:
    class Mine(Memory):
        async def get_tag(self, repository: str, tag: str) -> Any:
            return None

    assert "Mine.get_tag returned None" in await failed(Mine(), "GET", TAG, caplog)


@pytest.mark.parametrize(
    "content, text",
    [
        (lambda: pieces("text"), "gave a str as a piece of the blob; it must give bytes"),
        (lambda: pieces(None), "gave None as a piece of the blob; it must give bytes"),
        (lambda: [b"text"], "returned a list from __aiter__; it must be an `async def` with `yield`"),
    ],
)
async def test_a_blob_that_is_not_in_pieces_of_bytes(content: Any, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """The answer has begun, so it is truncated."""
    backend = returning("get_blob", reader(__aiter__=lambda _self: content()))
    exchange = Exchange(body_messages([]))
    with caplog.at_level(logging.ERROR, "ociserver"), pytest.raises(TypeError):
        await Handler(backend)(make_scope("GET", BLOB), exchange.receive, exchange.send)
    assert not exchange.reply.complete
    assert f"the reader of Mine.get_blob, MyReader, {text}" in caplog.records[0].getMessage()


async def test_a_write_that_is_not_awaited(caplog: pytest.LogCaptureFixture) -> None:
    backend = returning("push_blob_chunked_resume", writer(write=lambda _self, _data: None))
    message = await failed(backend, "PATCH", UPLOAD, caplog, body=b"text")
    assert "MyWriter, method write, returned None, which cannot be awaited; it must be `async def`" in message


async def test_an_error_inside_a_method_names_it(caplog: pytest.LogCaptureFixture) -> None:
    async def get_tag(self: Any, repository: str, tag: str) -> Manifest:
        raise KeyError(tag)

    assert "KeyError: 'latest'; Mine.get_tag raised it" in await failed(
        mistaken("get_tag", get_tag), "GET", TAG, caplog
    )


async def raised(error: Any, caplog: pytest.LogCaptureFixture) -> tuple[Reply, str]:
    async def get_tag(self: Any, repository: str, tag: str) -> Manifest:
        raise error()

    with caplog.at_level(logging.ERROR, "ociserver"):
        reply = await request(Handler(mistaken("get_tag", get_tag)), "GET", TAG, headers={"x-request-id": "find-me"})
    return reply, "\n".join(record.getMessage() for record in caplog.records)


async def test_an_unknown_code(caplog: pytest.LogCaptureFixture) -> None:
    reply, log = await raised(lambda: OCIError("MANIFEST_UNKNWON"), caplog)
    assert (reply.status, reply.code) == (500, "MANIFEST_UNKNWON")
    assert "find-me" in log
    assert "Mine.get_tag raised OCIError('MANIFEST_UNKNWON'), whose code is not in ociserver.errors.CODES" in log


async def test_a_code_of_ones_own_with_a_status_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    reply, log = await raised(lambda: OCIError("QUOTA", "the quota is used up", status=403), caplog)
    assert (reply.status, reply.code, log) == (403, "QUOTA", "")


@pytest.mark.parametrize(
    "error, text",
    [
        (lambda: OCIError(404), "Mine.get_tag raised it"),  # type: ignore[arg-type]
        (lambda: OCIError("DENIED", status="403"), "the status of an error is an int such as 404, and not '403'"),  # type: ignore[arg-type]
        (lambda: OCIError("DENIED", detail={1, 2}), "Mine.get_tag raised OCIError('DENIED') with a detail that JSON"),
        (lambda: OCIError("DENIED", headers={"Retry-After": 5}), "OCIError with headers that are not str"),  # type: ignore[dict-item]
    ],
)
async def test_an_error_that_cannot_be_sent(error: Any, text: str, caplog: pytest.LogCaptureFixture) -> None:
    reply, log = await raised(error, caplog)
    assert (reply.status, reply.code, reply.message) == (500, "UNKNOWN", "internal server error (request find-me)")
    assert text in log
    assert "find-me" in log
    assert json.loads(reply.body)


def test_what_is_no_backend() -> None:
    """mypy refuses these too: otherwise each comment would be an error of its own."""
    with pytest.raises(TypeError, match=r"the class Memory is not a backend: pass an object of it, such as Memory\(\)"):
        Handler(Memory)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="3 is not a backend"):
        Handler(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is not a backend"):
        ReadOnly("memory")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="options is a dict; it must be an"):
        Handler(Memory(), {"max_list_page_size": 10})  # type: ignore[arg-type]


async def coroutine(self: Any, *_: Any, **__: Any) -> Any:
    return []


async def generator(self: Any, *_: Any, **__: Any) -> Any:
    yield b""


def plain_generator(self: Any, *_: Any, **__: Any) -> Any:
    yield b""


async def too_few(self: Any, repository: str) -> Any:
    return MANIFEST


async def without_digest(self: Any, repository: str, content: bytes, media_type: str, *, tags: Any = ()) -> Any:
    return PushedManifest(DESCRIPTOR)


@pytest.mark.parametrize(
    "name, method, text",
    [
        ("tags", coroutine, "Mine.tags is an `async def` without `yield`; it must be an asynchronous generator"),
        ("get_blob", generator, "Mine.get_blob has a `yield`; it must be an `async def` that returns its result"),
        ("tags", plain_generator, "Mine.tags is a generator without `async`; it must be `async def`"),
        ("get_tag", "latest", "Mine.get_tag is a str; it must be a method"),
        ("get_tag", too_few, r"Mine.get_tag cannot be called as get_tag\(repository, tag\): too many positional"),
        ("push_manifest", without_digest, "Mine.push_manifest cannot be called as .*'digest'"),
    ],
)
def test_what_is_seen_before_a_request(name: str, method: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Handler(mistaken(name, method))


async def test_read_nowait_with_a_wrong_result_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Mine(Memory, reads_nowait=True):
        def read_nowait(self, kind: str, repository: str, reference: str) -> Any:
            return b"text"

    handler = Handler(Mine())
    with caplog.at_level(logging.ERROR, "ociserver"):
        for _ in range(3):
            assert (await request(handler, "GET", TAG)).code == "NAME_UNKNOWN"
    (record,) = caplog.records
    assert (
        "Mine.read_nowait returned a bytes; it must return (Descriptor, bytes or None), or None" in record.getMessage()
    )


def test_ours_are_not_checked() -> None:
    memory = Memory()
    assert ReadOnly(memory).inner is memory
    assert Handler(memory).backend is memory


def test_the_backend_of_a_handler_is_the_given_one() -> None:
    backend = returning("get_tag", MANIFEST)
    assert Handler(backend).backend is backend
