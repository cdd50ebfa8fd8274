"""Redirects, repetitions, timeouts, and which hosts get credentials."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ociserver import HTTPError, OCIError, Url
from ociserver.client import Basic, Client, Credentials, Limits, RetryPolicy, UnreachableError
from ociserver.context import retry_until
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import digest_of, read_blob
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

TEXT = b"some content"
DIGEST = digest_of(TEXT)
BASIC = "Basic dXNlcjpwYXNzd29yZA=="  # user:password
CREDENTIALS: dict[str, Any] = {"authorization": Basic("user", "password"), "retries": HURRIED}


async def test_a_redirect_carries_no_credentials_to_another_host(registry: Scripted, elsewhere: Scripted) -> None:
    registry.will(Reply(307, {"Location": f"{elsewhere.url}/storage?signature=a%2Fb"}))
    elsewhere.will(Reply(200, {}, TEXT))
    async with Client(registry.url, **CREDENTIALS) as client:
        reader = await client.get_blob("project", DIGEST)
        assert b"".join([piece async for piece in reader]) == TEXT
        assert reader.location == Url(f"{elsewhere.url}/storage?signature=a%2Fb")
    assert registry.seen[0].headers["authorization"] == BASIC
    # Unchanged, because a signature covers the exact URL.
    assert elsewhere.lines == ["GET /storage?signature=a%2Fb"]
    assert "authorization" not in elsewhere.seen[0].headers


async def test_another_host_that_asks_gets_no_credentials(registry: Scripted, elsewhere: Scripted) -> None:
    registry.will(Reply(307, {"Location": f"{elsewhere.url}/storage"}))
    elsewhere.will(Reply(401, {"WWW-Authenticate": 'Basic realm="give them to me"'}))
    async with Client(registry.url, credentials=Credentials("user", "password"), retries=HURRIED) as client:
        with refused("UNAUTHORIZED"):
            await read_blob(client, DIGEST, None, "project")
    assert len(elsewhere.seen) == 1


async def test_a_redirect_within_the_registry_keeps_them(registry: Scripted) -> None:
    registry.will(Reply(302, {"Location": "/elsewhere"}), Reply(200, {}, TEXT))
    async with Client(registry.url, **CREDENTIALS) as client:
        reader = await client.get_blob("project", DIGEST)
        assert reader.location is None
        await reader.aclose()
    assert [seen.headers["authorization"] for seen in registry.seen] == [BASIC, BASIC]


async def test_redirects_end(client: Client, registry: Scripted) -> None:
    registry.will(*(Reply(307, {"Location": "/again"}) for _ in range(50)))
    with pytest.raises(HTTPError, match="redirects more than"):
        await client.resolve_blob("project", DIGEST)
    assert len(registry.seen) < 10


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/x", "http://[broken"])
async def test_a_redirect_to_something_else(client: Client, registry: Scripted, target: str) -> None:
    registry.will(Reply(307, {"Location": target}))
    with pytest.raises(HTTPError):
        await client.resolve_blob("project", DIGEST)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_read_is_repeated(client: Client, registry: Scripted, status: int) -> None:
    registry.will(Reply(status), Reply(status), Reply(200, {}, b"{}"))
    assert (await client.get_tag("project", "latest")).content == b"{}"


async def test_repetitions_end(client: Client, registry: Scripted) -> None:
    registry.will(*(Reply(429, {"Retry-After": "0"}) for _ in range(9)))
    with refused("TOOMANYREQUESTS") as caught:
        await client.get_tag("project", "latest")
    assert len(registry.seen) == HURRIED.attempts
    # Our own client has to wait, too.
    assert caught.value.headers == {"Retry-After": "0"}


async def test_retry_after_is_waited_for(client: Client, registry: Scripted) -> None:
    registry.will(Reply(429, {"Retry-After": "1"}), Reply(200, {}, b"{}"))
    began = time.monotonic()
    await client.get_tag("project", "latest")
    assert time.monotonic() - began >= 1


async def test_a_caller_with_another_answer_is_not_kept_waiting(registry: Scripted) -> None:
    async with Client(registry.url, retries=RetryPolicy(attempts=9, backoff_s=0.2)) as client:
        token = retry_until.set(time.monotonic() + 0.3)
        # Exactly this number of times: the client does not wait after a connection that was just closing.
        for failure, least, most in (
            (Reply(503), 1, 2),
            (Reply(None), 2, 3),
            (Reply(429, {"Retry-After": "1"}), 1, 1),
        ):
            registry.will(*[failure] * 9)
            registry.seen.clear()
            retry_until.set(time.monotonic() + 0.3)
            with pytest.raises((HTTPError, OCIError)):
                await client.get_tag("project", "latest")
            assert least <= len(registry.seen) <= most
            registry.replies.clear()
        retry_until.reset(token)
        registry.will(Reply(503), Reply(503), Reply(200, {}, b"{}"))
        assert (await client.get_tag("project", "latest")).content == b"{}"


async def test_a_long_retry_after_is_not_waited_for(client: Client, registry: Scripted) -> None:
    registry.will(Reply(429, {"Retry-After": "3600"}))
    with refused("TOOMANYREQUESTS"):
        await client.get_tag("project", "latest")
    assert len(registry.seen) == 1


async def test_a_connection_that_ends_without_an_answer(client: Client, registry: Scripted) -> None:
    registry.will(Reply(None), Reply(200, {"Content-Length": "2"}, b"{", cut=True), Reply(200, {}, b"{}"))
    assert (await client.get_tag("project", "latest")).content == b"{}"


async def test_requests_that_must_not_be_repeated(client: Client, registry: Scripted) -> None:
    registry.will(Reply(None))
    with pytest.raises(UnreachableError):
        await client.delete_tag("project", "latest")
    # The tag may have moved in the meantime.
    registry.will(Reply(None))
    with pytest.raises(UnreachableError):
        await client.push_manifest("project", b"{}", "application/json", tags=["latest"])
    assert [seen.method for seen in registry.seen] == ["DELETE", "PUT"]


async def test_a_request_that_was_not_executed_is_repeated(client: Client, registry: Scripted) -> None:
    registry.will(Reply(503), Reply(202), Reply(429), Reply(201))
    await client.delete_tag("project", "latest")
    await client.push_manifest("project", b"{}", "application/json", tags=["latest"])
    assert registry.seen[3].body == b"{}"


async def test_a_registry_that_cannot_be_reached() -> None:
    async with Client("http://127.0.0.1:1", retries=HURRIED) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.push_manifest("project", b"{}", "application/json", tags=["latest"])
    assert caught.value.status == 502


async def test_a_registry_that_does_not_answer(registry: Scripted) -> None:
    registry.will(Reply(200, delay_s=5))
    async with Client(registry.url, retries=RetryPolicy(attempts=1), limits=Limits(idle_timeout_s=0.2)) as client:
        with pytest.raises(UnreachableError) as caught:
            await client.get_tag("project", "latest")
    assert caught.value.status == 504


async def test_a_registry_that_does_not_read() -> None:
    """The timeout also applies while the client sends: a read timeout would not notice this registry."""
    held: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        if (await reader.readline()).startswith(b"POST"):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 202 Accepted\r\nLocation: /v2/p/blobs/uploads/1\r\nContent-Length: 0\r\n\r\n")
            await reader.readline()
        await asyncio.sleep(30)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    content = bytes(1 << 20)
    url, limits = f"http://127.0.0.1:{port}", Limits(idle_timeout_s=0.3)
    async with Client(url, retries=RetryPolicy(attempts=1), limits=limits) as client:
        writer = await client.push_blob_chunked("p", chunk_size=1 << 26)
        await writer.write(content * 40)
        with pytest.raises(UnreachableError):
            await writer.aclose()
    server.close()
    for stream in held:
        stream.close()


async def test_the_environment_names_a_proxy(
    registry: Scripted, elsewhere: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", elsewhere.url)
    monkeypatch.setenv("no_proxy", "")
    elsewhere.will(Reply(200, {}, b"{}"))
    async with Client(registry.url, retries=HURRIED) as client:
        await client.get_tag("project", "latest")
    assert elsewhere.lines == [f"GET {registry.url}/v2/project/manifests/latest"]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    registry.will(Reply(200, {}, b"{}"))
    async with Client(registry.url, retries=HURRIED) as client:
        await client.get_tag("project", "latest")
    assert registry.lines == ["GET /v2/project/manifests/latest"]


@pytest.mark.parametrize("url", ["", "registry.example", "ftp://host", "https://", "http://a?b", "http://user:pw@host"])
def test_a_url_that_is_not_a_registry(url: str) -> None:
    with pytest.raises(ValueError, match=r"registry|credentials"):
        Client(url)


async def test_a_client_must_be_opened() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Client("http://localhost").get_tag("project", "latest")


async def test_a_path_before_v2(registry: Scripted) -> None:
    registry.will(Reply(200, {}, b"{}"))
    async with Client(f"{registry.url}/api/docker/", retries=HURRIED) as client:
        await client.get_tag("project", "latest")
    assert registry.lines == ["GET /api/docker/v2/project/manifests/latest"]


async def test_docker_hub_has_another_name() -> None:
    assert Client("https://docker.io").host == "registry-1.docker.io"


async def test_bodies_are_not_compressed_on_the_way(client: Client, registry: Scripted) -> None:
    registry.will(Reply(200, {}, TEXT))
    await read_blob(client, DIGEST, None, "project")
    assert registry.seen[0].headers["accept-encoding"] == "identity"
