"""Settings from the environment: a private authority, and a proxy with CONNECT."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ociserver.client import Basic, Client, UnreachableError
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted, scripted

pytestmark = pytest.mark.anyio

CERTIFICATES = Path(__file__).parents[1] / "cli" / "certificates"
FOUND = Reply(200, {}, b"{}")


class Proxy:
    """A proxy that supports only CONNECT."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        method, target, _ = head.split(" ", 2)
        assert method == "CONNECT"
        host, _, port = target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.ensure_future(_pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()


@pytest.fixture
async def secure(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scripted]:
    """A registry with a certificate from a private authority."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATES / "issued.pem", CERTIFICATES / "issued-key.pem")
    async with scripted(tls) as registry:
        yield registry


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield proxy
    server.close()


def client_of(registry: Scripted) -> Client:
    return Client(registry.url, authorization=Basic("user", "password"), retries=HURRIED)


async def test_a_private_authority(secure: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client_of(secure) as client:
        # The authority is not configured, so it is not trusted.
        with pytest.raises(UnreachableError):
            await client.get_tag("project", "latest")
    assert secure.seen == []
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    secure.will(FOUND)
    async with client_of(secure) as client:
        assert (await client.get_tag("project", "latest")).content == b"{}"


async def test_a_tunnel(secure: Scripted, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    monkeypatch.setenv("https_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "")
    secure.will(FOUND)
    async with client_of(secure) as client:
        assert (await client.get_tag("project", "latest")).content == b"{}"
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {secure.url.removeprefix('https://')} HTTP/1.1\r\n")
    # The proxy does not see the requests to the registry.
    assert "authorization" not in head.lower()
    assert "authorization" in secure.seen[0].headers
    monkeypatch.setenv("no_proxy", "localhost")
    secure.will(FOUND)
    async with client_of(secure) as client:
        await client.get_tag("project", "latest")
    assert len(proxy.heads) == 1
