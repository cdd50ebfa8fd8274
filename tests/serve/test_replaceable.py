"""When handlers are opened and closed while they are replaced."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from ociserver import Backend, Handler, Manifest, Memory, OCIError
from ociserver.serve.replaceable import Kept, Replaceable
from ociserver.types import Message
from tests.contract.contents import push_manifest
from tests.handler.driver import make_scope

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Recorded(Backend):
    """A backend that records when it is opened and closed."""

    def __init__(self, name: str, events: list[str], *, opens: bool = True) -> None:
        self.name = name
        self.events = events
        self.opens = opens

    async def __aenter__(self) -> Self:
        if not self.opens:
            raise OSError("it does not open")
        self.events.append(f"{self.name} opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.events.append(f"{self.name} closed")


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_old_handler_is_closed_after_its_last_request() -> None:
    events: list[str] = []
    served = Replaceable(Handler(Recorded("first", events)), [Recorded("store", events)])
    done = asyncio.Event()
    await served.__aenter__()
    request: asyncio.Task[Any] = asyncio.create_task(done.wait())
    await served.replace(Handler(Recorded("second", events)), lambda: [request])
    await settled()
    assert events == ["store opened", "first opened", "second opened"]
    done.set()
    await request
    await settled()
    assert events[3:] == ["first closed"]
    await served.replace(Handler(Recorded("third", events)), list)
    await settled()
    assert events[4:] == ["third opened", "second closed"]
    await served.aclose()
    assert events[6:] == ["third closed", "store closed"]


async def test_everything_is_closed_at_the_end_even_with_waiting_requests() -> None:
    events: list[str] = []
    served = Replaceable(Handler(Recorded("first", events)), [Recorded("store", events)])
    await served.__aenter__()
    request: asyncio.Task[Any] = asyncio.create_task(asyncio.Event().wait())
    await served.replace(Handler(Recorded("second", events)), lambda: [request])
    await settled()
    await served.aclose()
    assert events[3:] == ["first closed", "second closed", "store closed"]
    request.cancel()


async def test_a_handler_that_does_not_open_changes_nothing() -> None:
    events: list[str] = []
    served = Replaceable(Handler(Recorded("first", events)), [])
    await served.__aenter__()
    with pytest.raises(OSError, match="it does not open"):
        await served.replace(Handler(Recorded("second", events, opens=False)), list)
    await settled()
    assert events == ["first opened"]
    await served.aclose()
    assert events == ["first opened", "first closed"]


async def test_a_nowait_answer_comes_from_the_current_handler() -> None:
    def asked() -> bytes | None:
        sent: list[Message] = []
        send: Any = sent.append
        is_answered = served.answer_nowait(make_scope("GET", "/v2/group/project/manifests/v1"), send)
        assert is_answered == bool(sent)
        return sent[-1]["body"] if is_answered else None

    old, new = Memory(), Memory()
    await push_manifest(old, b"old", "text/plain", "v1")
    await push_manifest(new, b"new", "text/plain", "v1")
    served = Replaceable(Handler(Kept(old)), [old, new])
    assert asked() is None
    await served.__aenter__()
    assert asked() == b"old"
    await served.replace(Handler(Kept(new)), list)
    assert asked() == b"new"
    await served.aclose()
    assert asked() is None


async def test_a_kept_store_does_everything_but_open_and_close() -> None:
    events: list[str] = []
    async with Kept(Recorded("store", events)):
        pass
    assert events == []
    memory = Memory()
    kept = Kept(memory)
    await push_manifest(kept, b"text", "text/plain", "v1")
    found = await kept.get_tag("group/project", "v1")
    assert isinstance(found, Manifest)
    assert found == await memory.get_tag("group/project", "v1")
    with pytest.raises(OCIError):
        await kept.get_tag("group/project", "v2")


async def test_a_request_before_the_stores_are_open_waits() -> None:
    events: list[str] = []
    served = Replaceable(Handler(Recorded("handler", events)), [Recorded("store", events)])

    async def send(message: Message) -> None:
        events.append(str(message.get("status", "body")))

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/v2/", "query_string": b"", "headers": []}
    early = asyncio.ensure_future(served(scope, receive, send))
    await settled()
    assert events == []
    await served.__aenter__()
    await early
    assert events == ["store opened", "handler opened", "200", "body"]
    await served.aclose()
