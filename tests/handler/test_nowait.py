"""Reads that need no waiting (`Backend.read_nowait`): the same answers as in the usual way, and no others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from ociserver import Backend, Descriptor, Event, Handler, Manifest, Memory, OCIError, Options, Store
from ociserver.options import Response
from ociserver.types import Message, Scope
from tests.contract.contents import IMAGE, REPOSITORY, image, push_manifest
from tests.handler.driver import Exchange, Reply, make_scope, request
from tests.handler.registry import BLOB, CONTENT, DIGEST, MANIFEST, TAG, filled

pytestmark = pytest.mark.anyio

MANIFEST_READS = [(method, path) for path in (TAG, MANIFEST) for method in ("GET", "HEAD")]
READS = [*MANIFEST_READS, ("GET", BLOB), ("HEAD", BLOB)]
OPTIONS = {
    "none": Options(),
    "no digest": Options(omit_digest_from_tag_get_response=True),
    "elsewhere": Options(locations_for_descriptor=lambda _is_manifest, _descriptor: ["https://example.com/"]),
    "redirects": Options(redirect_pulls=True),
}
UNCHANGED = {"headers": {"if-none-match": f'"{DIGEST}"'}}
"""Where it is the manifest that is asked for."""

NOTHING = f"sha256:{64 * '0'}"
MISSING = [
    path.replace(old, new)
    for path, old, new in (
        (TAG, "latest", "oldest"),
        (MANIFEST, DIGEST, NOTHING),
        (TAG, REPOSITORY, "elsewhere"),
        (BLOB, BLOB.rpartition("/")[2], NOTHING),
        (BLOB, REPOSITORY, "elsewhere"),
    )
]

PLAIN: list[dict[str, Any]] = [{}, {"headers": {"x-request-id": "mine"}}]
CONDITIONS: list[dict[str, Any]] = [
    {"headers": {"if-none-match": condition}} for condition in ("*", f'W/"{DIGEST}"', f'"{DIGEST}", "{DIGEST}"')
]
OTHERS: list[dict[str, Any]] = [{"headers": {"range": "bytes=1-3"}}, {"root_path": "/under"}, {"body": b""}]
REQUESTS = [*PLAIN, UNCHANGED, *CONDITIONS, *OTHERS]


class Counter:
    """Counts what a backend answered at once."""

    def __init__(self, backend: Backend) -> None:
        self.answered: list[str] = []
        self._read_nowait = backend.read_nowait
        self.backend = backend

    def __call__(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        found = self._read_nowait(kind, repository, reference)
        if found is not None:
            self.answered.append(kind)
        return found


@pytest.fixture(params=["memory", "store"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    made = Memory() if request.param == "memory" else Store(tmp_path / "data", durability="off")
    async with made:
        yield await filled(made)


def watched(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts the calls of the handler's backend, after it is opened the next time."""
    counter = Counter(handler.backend)
    # Of the class that has it: on the object it would be another object's method, which is not asked.
    owner = next(owner for owner in type(handler.backend).__mro__ if "read_nowait" in vars(owner))
    monkeypatch.setattr(owner, "read_nowait", lambda _self, *asked: counter(*asked))
    return counter


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("fields", REQUESTS, ids=str)
async def test_the_answer_is_the_usual_one(backend: Any, options: Options, fields: dict[str, Any]) -> None:
    plain = Handler(backend, options)
    usual = Handler(without_nowait(backend), options)
    for method, path in READS:
        target = f"/under{path}" if "root_path" in fields else path
        expected = await request(usual, method, target, **fields)
        assert 200 <= expected.status < 400
        # The second time is the one that a store remembers.
        assert await request(plain, method, target, **fields) == expected
        assert await request(plain, method, target, **fields) == expected


async def test_plain_reads_are_answered_at_once(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    application = Handler(backend)
    counter = watched(application, monkeypatch)
    for method, path in READS:
        await request(application, method, path)
        counter.answered.clear()
        await request(application, method, path)
        assert len(counter.answered) == 1, (method, path)


@pytest.mark.parametrize("fields", OTHERS, ids=str)
async def test_others_are_not(backend: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]) -> None:
    application = Handler(backend)
    counter = watched(application, monkeypatch)
    for method, path in READS:
        await request(application, method, f"/under{path}" if "root_path" in fields else path, **fields)
    await request(application, "GET", f"{TAG}?ns=example.com")
    assert counter.answered == []


@pytest.mark.parametrize("fields", [*PLAIN, UNCHANGED], ids=str)
async def test_any_thread_can_have_the_answer(backend: Any, fields: dict[str, Any]) -> None:
    async with Handler(backend) as application:
        for method, path in READS if fields != UNCHANGED else MANIFEST_READS:
            expected = await request(application, method, path, **fields)
            scope = make_scope(method, path, fields.get("headers", {}).items())
            assert await anyio.to_thread.run_sync(answered_at_once, application, scope) == expected


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Any]:
    async with Store(tmp_path / "data", durability="off") as store:
        yield await filled(store)


async def test_a_store_looks_up_what_it_does_not_remember(store: Store) -> None:
    async with Handler(store) as application:
        for method, path in READS:
            expected = await request(Handler(without_nowait(store)), method, path)
            await push_manifest(store, image(b"{}", annotations={method: path}), IMAGE)
            assert await anyio.to_thread.run_sync(answered_at_once, application, make_scope(method, path)) == expected


@pytest.mark.parametrize("fields", [*PLAIN, UNCHANGED, *CONDITIONS], ids=str)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", MISSING)
async def test_what_is_missing_is_refused_at_once(store: Store, method: str, path: str, fields: dict[str, Any]) -> None:
    events: list[Event] = []
    headers = {"x-request-id": "mine", **fields.get("headers", {})}
    expected = await request(Handler(without_nowait(store), observe=events.append), method, path, headers=headers)
    assert expected.status == 404
    async with Handler(store, observe=events.append) as application:
        scope = make_scope(method, path, headers.items())
        assert await anyio.to_thread.run_sync(answered_at_once, application, scope) == expected
    assert events[0]._replace(duration=0) == events[1]._replace(duration=0)


async def test_others_that_want_to_hear_of_it_do(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def write_error(_scope: Scope, error: Exception) -> Response:
        return Response(410, {}, repr(error).encode())

    for options, level in ((Options(write_error=write_error), logging.INFO), (Options(), logging.DEBUG)):
        with caplog.at_level(level, "ociserver"):
            async with Handler(store, options) as application:
                for path in MISSING:
                    scope = make_scope("GET", path)
                    assert await anyio.to_thread.run_sync(answered_at_once, application, scope) is None


async def test_a_fault_of_the_backend_is_left_to_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Memory, reads_nowait=True):
        def read_nowait(self, kind: str, repository: str, reference: str) -> Any:
            raise RuntimeError("unforeseen")

    async with Handler(await filled(Faulty())) as application:
        assert answered_at_once(application, make_scope("GET", TAG)) is None
        assert (await request(application, "GET", TAG)).body == CONTENT
    assert not caplog.records


@pytest.mark.parametrize("fields", [*CONDITIONS, OTHERS[0], OTHERS[1]], ids=str)
async def test_nothing_is_sent_to_what_is_not_answered_at_once(backend: Any, fields: dict[str, Any]) -> None:
    async with Handler(backend) as application:
        for method, path in READS:
            await request(application, method, path)
            headers = fields.get("headers", {}).items()
            scope = make_scope(method, path, headers, root_path=fields.get("root_path", ""))
            assert answered_at_once(application, scope) is None


def answered_at_once(application: Handler, scope: Scope) -> Reply | None:
    exchange = Exchange([])

    def send(message: Message) -> Any:
        # As a server does that has no use for being awaited.
        with contextlib.suppress(StopIteration):
            exchange.send(message).send(None)

    if not application.answer_nowait(scope, send):
        assert exchange.reply == Reply()
        return None
    assert exchange.reply.complete
    return exchange.reply


async def test_a_closed_handler_answers_nothing_at_once(backend: Any) -> None:
    application = Handler(backend)
    assert answered_at_once(application, make_scope("GET", TAG)) is None
    await request(application, "GET", TAG)
    assert answered_at_once(application, make_scope("GET", TAG)) is not None
    await application.aclose()
    assert answered_at_once(application, make_scope("GET", TAG)) is None


async def test_what_was_overwritten_or_deleted_is_not_remembered(backend: Any) -> None:
    application = Handler(backend)
    for _ in range(2):
        assert (await request(application, "GET", TAG)).body == CONTENT
    other = image(b"{}", annotations={"other": "one"})
    await push_manifest(backend, other, IMAGE, "latest")
    at_once = answered_at_once(application, make_scope("GET", TAG))
    assert at_once is None or at_once.body == other
    for _ in range(2):
        assert (await request(application, "GET", TAG)).body == other
    await backend.delete_tag(REPOSITORY, "latest")
    for method in ("GET", "HEAD"):
        assert answered_at_once(application, make_scope(method, TAG)) is None
        assert (await request(application, method, TAG)).status == 404


class Denying(Memory):
    """Refuses all reads, as a subclass may."""

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        raise OCIError("DENIED")


async def test_a_subclass_that_reads_otherwise_is_asked() -> None:
    application = Handler(await filled(Denying()))
    assert (await request(application, "GET", TAG)).code == "DENIED"
    # And for what it has left alone, as it may know of none of this.
    assert (await request(application, "GET", MANIFEST)).body == CONTENT


async def test_a_method_of_the_object_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = await filled()

    async def denied(_repository: str, _digest: str) -> Manifest:
        raise OCIError("DENIED")

    monkeypatch.setattr(backend, "get_manifest", denied)
    assert (await request(Handler(backend), "GET", MANIFEST)).code == "DENIED"


@pytest.mark.parametrize("declares", [True, False])
async def test_a_backend_of_ones_own_can_declare_it(*, declares: bool) -> None:
    class Own(Backend, reads_nowait=declares):
        """Knows one thing by heart."""

        def read_nowait(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
            return Descriptor("text/plain", DIGEST, 4), b"text"

    async with Handler(Own()) as application:
        reply = await request(application, "GET", TAG)
    if not declares:
        assert reply.code == "UNSUPPORTED"
        return
    assert (reply.status, reply["content-type"], reply["docker-content-digest"], reply.body) == (
        200,
        "text/plain",
        DIGEST,
        b"text",
    )


def test_a_class_that_declares_it_has_to_have_it() -> None:
    with pytest.raises(TypeError, match="Own declares reads_nowait, and has no read_nowait"):

        class Own(Backend, reads_nowait=True):
            pass


async def test_it_is_reported_as_any_other(backend: Any) -> None:
    events: list[Event] = []
    application = Handler(backend, observe=events.append)
    usual: list[Event] = []
    slow = Handler(without_nowait(backend), observe=usual.append)
    named = {"x-request-id": "mine"}
    for method, path, headers in [(*read, named) for read in READS] + [("GET", TAG, {**named, **UNCHANGED["headers"]})]:
        for handler in (application, application, slow):
            await request(handler, method, path, headers=headers)
        assert answered_at_once(application, make_scope(method, path, headers.items()))
    assert len(events) == 3 * len(usual)
    for number in range(3):
        assert [event._replace(duration=0) for event in events[number::3]] == [
            event._replace(duration=0) for event in usual
        ]
    assert events[0::3] != events[1::3]  # they took their time


@pytest.mark.parametrize("client, told", [(("192.0.2.1", 4711), "192.0.2.1"), (None, "")])
async def test_the_client_is_told(client: tuple[str, int] | None, told: str) -> None:
    events: list[Event] = []
    async with Handler(await filled(), observe=events.append) as application:
        assert answered_at_once(application, {**make_scope("GET", TAG), "client": client})
    assert [(type(event), event.client) for event in events] == [(Event, told)]


async def test_an_answer_that_is_cut_off_is_reported_too(backend: Any) -> None:
    events: list[Event] = []
    async with Handler(backend, observe=events.append) as application:
        await request(application, "GET", TAG)

        async def receive() -> Message:
            raise AssertionError("nobody reads the body")

        async def send(_message: Message) -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await application(make_scope("GET", TAG), receive, send)
    assert len(events) == 2
    assert events[0]._replace(request_id="", duration=0) == events[1]._replace(request_id="", duration=0)


async def test_who_observes_and_fails_leaves_it_answered(backend: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It must not be given to the event loop too, which would answer it again."""

    def observe(_event: Event) -> None:
        raise OSError("unforeseen")

    async with Handler(backend, observe=observe) as application:
        with pytest.raises(OSError, match="unforeseen"):
            await request(application, "GET", TAG)
        assert answered_at_once(application, make_scope("GET", TAG))
    assert "unforeseen" in caplog.text


async def test_a_request_without_an_id_gets_one(backend: Any) -> None:
    events: list[Event] = []
    application = Handler(backend, observe=events.append)
    for _ in range(3):
        await request(application, "GET", TAG)
    await request(application, "GET", TAG, headers={"x-request-id": "not\nprintable"})
    assert [event.request_id for event in events] == [f"{application.debug_id}-{number}" for number in range(1, 5)]


async def test_a_closed_handler_opens_its_backend_again() -> None:
    opened: list[str] = []

    class Counting(Memory):
        async def __aenter__(self) -> Any:
            opened.append("opened")
            return self

    application = Handler(await filled(Counting()))
    for _ in range(2):
        assert (await request(application, "GET", TAG)).status == 200
        assert (await request(application, "GET", TAG)).status == 200
        await application.aclose()
    assert opened == ["opened", "opened"]


def without_nowait(backend: Any) -> Any:
    """The same contents, always read in the usual way."""

    class Usual:
        def __getattr__(self, name: str) -> Any:
            if name == "read_nowait":
                raise AttributeError(name)
            return getattr(backend, name)

        async def __aenter__(self) -> Any:
            return self

        async def __aexit__(self, *_: object) -> None:
            """The owner closes what is shared."""

    return Usual()


def test_replies_are_compared_whole() -> None:
    assert Reply(200, [("a", "b")]) != Reply(200, [("a", "c")])
