"""`redirect_pulls`, `redirect_pushes`: clients use the registry behind the server, with their own credentials."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from ociserver import Backend, Descriptor, Handler, Memory, Options, compose
from ociserver.client import Basic, Client, Credentials
from ociserver.handler import Event
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import BINARY, REPOSITORY, digest_of, pieces_of, push_image, read_blob
from tests.serving.uvicorn_here import serve_here

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 1000
DIGEST = digest_of(CONTENT)
BLOB = f"/v2/{REPOSITORY}/blobs/{DIGEST}"
UPLOADS = f"/v2/{REPOSITORY}/blobs/uploads/"
DESCRIBED = Descriptor(BINARY, DIGEST, len(CONTENT))

REDIRECT: dict[str, Any] = {"redirect_pulls": True, "redirect_pushes": True}
NOT: dict[str, Any] = {"redirect_pulls": False, "redirect_pushes": False}


async def ask(backend: Any, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> Any:
    """The answer of a handler over a backend. Redirects are not followed."""
    async with Handler(backend, Options(**(REDIRECT | options))) as handler:
        transport = httpx.ASGITransport(handler)
        async with httpx.AsyncClient(transport=transport, base_url="http://near") as client:
            return await client.request(method, path, headers=headers)


def behind(registry: Scripted, **settings: Any) -> Client:
    return Client(registry.url, retries=HURRIED, **settings)


async def test_clients_push_and_pull_directly() -> None:
    events: list[Event] = []
    async with (
        serve_here(Handler(Memory())) as far,
        serve_here(Handler(Client(far.url), Options(**REDIRECT), observe=events.append)) as near,
        Client(near.url) as client,
    ):
        # In one request, in chunks, and in chunks that are resumed after a pause.
        await client.push_blob(REPOSITORY, DESCRIBED, pieces_of(CONTENT))
        async with aclosing(await client.push_blob_chunked(REPOSITORY, chunk_size=100_000)) as writer:
            await writer.write(b"other ")
        async with aclosing(await client.push_blob_chunked_resume(REPOSITORY, writer.id, offset=6)) as writer:
            await writer.write(CONTENT)
            await writer.commit(digest_of(b"other " + CONTENT))
        assert await read_blob(client, DIGEST) == CONTENT
        await push_image(client, "latest")
        assert await read_blob(client, digest_of(b"other " + CONTENT)) == b"other " + CONTENT
    large = [(event.kind, event.status, event.received, event.sent) for event in events if "blob" in (event.kind or "")]
    # The image's config is in one small POST. Nothing else passed through this server.
    assert ("blob_get", 307, 0, 0) in large
    assert all(received < 100 and sent == 0 for _, _, received, sent in large)
    assert not {"upload_chunk", "upload_complete"} & {event.kind for event in events}


async def test_a_redirect_is_passed_on_unchanged(registry: Scripted, elsewhere: Scripted) -> None:
    target = f"{elsewhere.url}/storage?signature=a%2Fb&x=%20"
    registry.will(Reply(307, {"Location": target}))
    answer = await ask(behind(registry, authorization=Basic("user", "password")), "GET", BLOB)
    assert (answer.status_code, answer.headers["location"], answer.content) == (307, target, b"")
    # Storage signs a URL for one method. The client requests one byte from the registry, and nothing from the storage.
    assert (registry.seen[0].method, registry.seen[0].headers["range"]) == ("GET", "bytes=0-0")
    assert elsewhere.seen == []


async def test_a_redirect_within_the_registry_is_followed(registry: Scripted, elsewhere: Scripted) -> None:
    registry.will(Reply(302, {"Location": "/other"}), Reply(307, {"Location": f"{elsewhere.url}/storage"}))
    answer = await ask(behind(registry), "GET", BLOB)
    assert answer.headers["location"] == f"{elsewhere.url}/storage"
    assert registry.lines == [f"GET {BLOB}", "GET /other"]


@pytest.mark.parametrize("status", [200, 206, 416])
async def test_a_registry_that_asks_for_nothing(registry: Scripted, status: int) -> None:
    registry.will(Reply(status, {"Content-Range": "bytes 0-0/256000"}, b"\0"))
    answer = await ask(behind(registry, credentials=Credentials("user", "password")), "GET", BLOB)
    assert (answer.status_code, answer.headers["location"]) == (307, f"{registry.url}{BLOB}")


async def test_a_registry_that_requires_credentials(registry: Scripted) -> None:
    """Clients may not see what this server may see. So it serves the content itself."""
    registry.will(Reply(401, {"WWW-Authenticate": "Basic"}), Reply(206, {"Content-Range": "bytes 0-0/256000"}, b"\0"))
    registry.will(Reply(200, {}, CONTENT))
    answer = await ask(behind(registry, credentials=Credentials("user", "password")), "GET", BLOB)
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("status, wanted", [(404, 404), (403, 403), (500, 500)])
async def test_a_registry_that_refuses(registry: Scripted, status: int, wanted: int) -> None:
    registry.will(Reply(status))
    assert (await ask(behind(registry), "GET", BLOB)).status_code == wanted


async def test_requests_that_the_server_answers_itself(registry: Scripted) -> None:
    head = Reply(200, {"Content-Length": "256000"})
    registry.will(head, head)
    assert (await ask(behind(registry), "HEAD", BLOB)).status_code == 200
    assert (await ask(behind(registry), "GET", BLOB, {"If-None-Match": f'"{DIGEST}"'})).status_code == 304
    assert [seen.method for seen in registry.seen] == ["HEAD", "HEAD"]


async def test_it_is_off_by_default(registry: Scripted) -> None:
    registry.will(Reply(200, {}, CONTENT), Reply(202, {"Location": f"{UPLOADS}1"}))
    assert (await ask(behind(registry), "GET", BLOB, **NOT)).content == CONTENT
    answer = await ask(behind(registry), "POST", UPLOADS, **NOT)
    assert answer.headers["location"].startswith(UPLOADS)


async def test_the_callables_win(registry: Scripted) -> None:
    registry.will(Reply(200, {"Content-Length": "256000"}), Reply(202, {"Location": f"{UPLOADS}1"}))
    answer = await ask(behind(registry), "GET", BLOB, locations_for_descriptor=lambda *_: ["https://mine"])
    assert answer.headers["location"] == "https://mine"
    answer = await ask(behind(registry), "POST", UPLOADS, location_for_upload_id=lambda name: f"https://mine/{name}")
    assert answer.headers["location"] == "https://mine/1"


@pytest.mark.parametrize("where", ["{registry}" + UPLOADS + "1?state=a%2Fb", "{elsewhere}/upload?signature=a%2Fb"])
@pytest.mark.parametrize("asks", [False, True])
async def test_an_upload(registry: Scripted, elsewhere: Scripted, where: str, *, asks: bool) -> None:
    location = where.format(registry=registry.url, elsewhere=elsewhere.url)
    if asks:
        registry.will(Reply(401, {"WWW-Authenticate": "Basic"}))
    registry.will(Reply(202, {"Location": location}))
    answer = await ask(behind(registry, credentials=Credentials("user", "password")), "POST", UPLOADS)
    assert answer.status_code == 202
    # This server would not send its credentials to another host either.
    directly = not asks or location.startswith(elsewhere.url)
    assert (answer.headers["location"] == location) is directly
    assert directly or answer.headers["location"].startswith(UPLOADS)


async def test_an_unknown_upload(registry: Scripted) -> None:
    answer = await ask(behind(registry), "GET", f"{UPLOADS}%3Cforged%3Ehttp:%2F%2F127.0.0.1:1%2F")
    assert (answer.status_code, registry.seen) == (404, [])


def _first(client: Client) -> Backend:
    return compose.Unify(client, Memory(), writes="first")


def _all(client: Client) -> Backend:
    return compose.Unify(client, Memory())


def _under(client: Client) -> Backend:
    return compose.Unify(Memory(), client, writes="first")


WRAPPERS: dict[str, tuple[Callable[[Client], Any], bool, bool]] = {
    "Client": (lambda client: client, True, True),
    "ReadOnly": (compose.ReadOnly, True, False),
    "Immutable": (compose.Immutable, True, True),
    "Debug": (compose.Debug, True, True),
    "Sub": (lambda client: compose.Sub(client, "group"), True, True),
    "AccessChecker": (lambda client: compose.AccessChecker(client, lambda *_: None), False, False),
    "Select": (lambda client: compose.Select(client, lambda _: True), False, False),
    "Cache": (lambda client: compose.Cache(client, Memory(lax_child_references=True)), False, False),
    "Unify, writes to the first": (_first, True, True),
    "Unify, writes to all": (_all, True, False),
    "Unify, under another": (_under, True, False),
}


@pytest.mark.parametrize("name", WRAPPERS)
async def test_the_wrappers_that_redirect_clients(name: str) -> None:
    """The table of docs/compose.md."""
    wrap, blobs, uploads = WRAPPERS[name]
    held = Memory()
    await held.push_blob(REPOSITORY, DESCRIBED, pieces_of(CONTENT))
    async with serve_here(Handler(held)) as far:
        repository = REPOSITORY.removeprefix("group/") if name == "Sub" else REPOSITORY
        answer = await ask(wrap(Client(far.url)), "GET", f"/v2/{repository}/blobs/{DIGEST}")
        assert answer.status_code == (307 if blobs else 200)
        assert answer.headers.get("location") == (f"{far.url}{BLOB}" if blobs else None)
        answer = await ask(wrap(Client(far.url)), "POST", f"/v2/{repository}/blobs/uploads/")
        if uploads:
            assert answer.headers["location"].startswith(f"{far.url}{UPLOADS}")
        else:
            assert not answer.headers.get("location", "").startswith("http")


async def test_the_first_registry_has_the_blob() -> None:
    """Then the second registry, which may be slow or down, is not asked."""
    near = Memory()
    await near.push_blob(REPOSITORY, DESCRIBED, pieces_of(CONTENT))
    answer = await ask(compose.Unify(near, Client("http://127.0.0.1:1", retries=HURRIED), writes="first"), "GET", BLOB)
    assert (answer.status_code, answer.content) == (200, CONTENT)


async def test_the_first_registry_is_down() -> None:
    held = Memory()
    await held.push_blob(REPOSITORY, DESCRIBED, pieces_of(CONTENT))
    async with serve_here(Handler(held)) as far:
        backend = compose.Unify(Client("http://127.0.0.1:1", retries=HURRIED), Client(far.url))
        answer = await ask(backend, "GET", BLOB)
    assert answer.headers["location"] == f"{far.url}{BLOB}"


async def test_no_signature_is_logged(
    registry: Scripted, elsewhere: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    registry.will(Reply(307, {"Location": f"{elsewhere.url}/storage?signature=secret"}))
    with caplog.at_level("INFO", logger="ociserver.debug"):
        await ask(compose.Debug(behind(registry)), "GET", BLOB)
    assert f"location={elsewhere.url}/storage" in caplog.text
    assert "secret" not in caplog.text
