"""What a backend can read about its request, and what it can add to the answer."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from ociserver import Backend, Descriptor, Event, Handler, Memory, Options, RequestContext, request_context
from ociserver.types import Message, Receive, Scope, Send
from tests.contract.contents import BINARY, digest_of
from tests.handler.driver import Exchange, body_messages, make_scope, request
from tests.handler.registry import BLOB, TEXT, filled

pytestmark = pytest.mark.anyio


class Watching(Backend):
    """Keeps the context of the last request, and calls `act` with it."""

    def __init__(self, act: Any = None) -> None:
        self.seen: RequestContext | None = None
        self._act = act

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        context = request_context.get()
        assert context
        self.seen = context
        if self._act:
            self._act(context)
        return Descriptor(BINARY, digest, 0)


async def seen(headers: dict[str, str] | None = None, query: str = "", **fields: Any) -> RequestContext:
    backend = Watching()
    await request(Handler(backend), "HEAD", BLOB + query, headers=headers, **fields)
    assert backend.seen
    return backend.seen


async def test_who_asks() -> None:
    context = await seen(user="somebody", auth=["push"])
    assert (context.user, context.auth) == ("somebody", ["push"])
    context = await seen()
    assert (context.user, context.auth) == (None, None)


async def test_the_namespace() -> None:
    assert (await seen(query="?ns=docker.io")).namespace == "docker.io"
    assert (await seen(query="?ns=")).namespace is None
    assert (await seen()).namespace is None


async def test_it_ends_with_the_request() -> None:
    await seen()
    assert request_context.get() is None


async def test_it_is_given_back_even_to_a_middleware_that_keeps_it() -> None:
    kept: list[weakref.ref[Any]] = []

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        context: RequestContext | None = None

        async def keeping(message: Message) -> None:
            nonlocal context
            context = request_context.get()
            kept.append(weakref.ref(context))
            await send(message)

        await Handler(Watching())(scope, receive, keeping)

    assert (await request(middleware, "HEAD", BLOB)).status == 200
    gc.collect()
    assert [context() for context in kept] == [None, None]


async def test_a_namespace_that_answered() -> None:
    def act(context: RequestContext) -> None:
        context.served_from = context.namespace

    reply = await request(Handler(Watching(act)), "HEAD", BLOB + "?ns=docker.io")
    assert reply["oci-namespace"] == "docker.io"
    reply = await request(Handler(Watching()), "HEAD", BLOB + "?ns=docker.io")
    assert not reply.all("oci-namespace")


@pytest.mark.parametrize(
    "text, header",
    [
        ("be careful", '299 - "be careful"'),
        # RFC 9110, 5.6.4: a quoted string escapes these two.
        ('a "quoted" \\ text', '299 - "a \\"quoted\\" \\\\ text"'),
        ("no\r\nInjected: header", '299 - "no??Injected: header"'),
        ("grüße\t\0", '299 - "gr??e??"'),
        ("", '299 - ""'),
    ],
)
async def test_a_warning(text: str, header: str) -> None:
    reply = await request(Handler(Watching(lambda context: context.warn(text))), "HEAD", BLOB)
    assert reply["warning"] == header


async def test_several_warnings_and_not_too_many() -> None:
    def act(context: RequestContext) -> None:
        for number in range(100):
            context.warn(f"warning {number}")

    reply = await request(Handler(Watching(act)), "HEAD", BLOB)
    assert reply.all("warning") == [f'299 - "warning {number}"' for number in range(16)]


async def test_a_warning_comes_with_an_error_too() -> None:
    def act(context: RequestContext) -> None:
        context.warn("nearly")
        raise LookupError

    reply = await request(Handler(Watching(act)), "HEAD", BLOB)
    assert (reply.status, reply["warning"]) == (500, '299 - "nearly"')


async def test_requests_have_ids_of_their_own() -> None:
    backend = Watching()
    application = Handler(backend, Options(debug_id="mine"))
    ids = []
    for _ in range(3):
        await request(application, "HEAD", BLOB)
        assert backend.seen
        ids.append(backend.seen.request_id)
    assert len(set(ids)) == 3
    assert all(request_id.startswith("mine-") for request_id in ids)


async def test_handlers_of_one_name_share_no_id() -> None:
    backend = Watching()
    ids = []
    for _ in range(2):
        for _ in range(2):
            # Made anew each time, as by a reload.
            await request(Handler(backend, Options(debug_id="shared")), "HEAD", BLOB)
            assert backend.seen
            ids.append(backend.seen.request_id)
        await request(Handler(backend, Options(debug_id="other")), "HEAD", BLOB)
    assert ids == ["shared-1", "shared-2", "shared-3", "shared-4"]


async def test_handlers_are_told_apart() -> None:
    assert (await seen()).request_id.partition("-")[0] != (await seen()).request_id.partition("-")[0]
    assert (await seen()).request_id.startswith("ociserver")


@pytest.mark.parametrize("theirs", ["abc-123", "x" * 128, 'with "quotes" and spaces'])
async def test_the_id_of_the_client_is_taken_over(theirs: str) -> None:
    assert (await seen({"x-request-id": theirs})).request_id == theirs


# ASGI requires an iterable of pairs. Servers and test clients pass these types.
@pytest.mark.parametrize("form", [list, tuple, iter, lambda pairs: [list(pair) for pair in pairs]])
async def test_headers_in_any_form(form: Callable[[list[tuple[bytes, bytes]]], Any]) -> None:
    """Of a repeated header, the last one counts."""
    backend, exchange = Watching(), Exchange([])
    headers = form([(b"x-request-id", b"first"), (b"host", b"h"), (b"x-request-id", b"last")])
    await Handler(backend)({**make_scope("HEAD", BLOB), "headers": headers}, exchange.receive, exchange.send)
    assert exchange.reply.status == 200
    assert backend.seen
    assert backend.seen.request_id == "last"


@pytest.mark.parametrize("theirs", ["x" * 129, "with\ttab", "with\nline", "grüße", "\x7f", "a\0b"])
async def test_an_id_that_would_spoil_the_log_is_not(theirs: str) -> None:
    assert (await seen({"x-request-id": theirs})).request_id != theirs


async def test_the_observer_sees_the_request() -> None:
    events: list[Event] = []
    application = Handler(await filled(Memory()), observe=events.append)
    await request(application, "GET", BLOB + "?x=y", headers={"x-request-id": "mine"})
    (event,) = events
    assert (event.request_id, event.client, event.method) == ("mine", "192.0.2.1", "GET")
    assert (event.path, event.kind, event.repository) == (BLOB.encode(), "blob_get", "group/project")
    assert (event.status, event.received, event.sent) == (200, 0, len(TEXT))
    assert event.duration >= 0


async def test_the_observer_sees_what_fails() -> None:
    events: list[Event] = []
    application = Handler(Memory(), observe=events.append)
    await request(application, "GET", "/elsewhere", client=None)
    await request(application, "PUT", "/v2/a/manifests/latest", b"text", {"content-type": "text/plain"})
    await request(application, "POST", f"/v2/a/blobs/uploads/?digest={digest_of(TEXT)}", b"other")
    assert [(event.kind, event.status) for event in events] == [
        (None, 404),
        ("manifest_put", 201),
        ("upload_blob", 400),
    ]
    assert [event.client for event in events] == ["", "192.0.2.1", "192.0.2.1"]
    assert [event.received for event in events] == [0, 4, 5]


async def test_the_observer_counts_a_body_that_was_not_announced() -> None:
    # As HTTP/2 sends it: neither Content-Length nor Transfer-Encoding.
    events: list[Event] = []
    exchange = Exchange(body_messages([b"te", b"xt"]))
    scope = make_scope("PUT", "/v2/a/manifests/latest", [("content-type", "text/plain")], http_version="2")
    await Handler(Memory(), observe=events.append)(scope, exchange.receive, exchange.send)
    assert exchange.reply.status == 201
    assert [event.received for event in events] == [4]


async def test_a_failure_is_logged_under_its_id(caplog: pytest.LogCaptureFixture) -> None:
    def act(context: RequestContext) -> None:
        raise LookupError("a secret of the backend")

    with caplog.at_level(logging.ERROR, "ociserver"):
        await request(Handler(Watching(act)), "HEAD", BLOB, headers={"x-request-id": "find-me"})
    (record,) = caplog.records
    assert "find-me" in record.getMessage()
    assert record.exc_info
    assert "a secret of the backend" in caplog.text
