"""Each row of docs/client-auth.md, against a registry, a token server and a third host."""

from __future__ import annotations

import base64
import dataclasses
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from ociserver import HTTPError, OCIError
from ociserver.client import Client
from tests.client.conftest import HURRIED
from tests.client.exchanges import EXCHANGES, IDENTITIES, Exchange, table
from tests.client.scripted import Reply, Scripted, Seen, scripted
from tests.support.tools import ROOT

pytestmark = pytest.mark.anyio

CERTIFICATES = Path(__file__).parents[1] / "cli" / "certificates"
PAGE = ROOT / "docs" / "client-auth.md"


@pytest.mark.parametrize("row", EXCHANGES, ids=lambda row: f"{row.who}; {row.asks}")
async def test_an_exchange(row: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(CERTIFICATES / "issued.pem", CERTIFICATES / "issued-key.pem")
    async with AsyncExitStack() as stack:
        hosts = {
            name: await stack.enter_async_context(scripted(tls if row.tls and name == "registry" else None))
            for name in ("registry", "tokens", "elsewhere")
        }
        journal: list[Scripted] = []
        for name, host in hosts.items():
            host.journal = journal
            host.will(*(_told(reply, hosts) for reply in getattr(row, name)))
        client = await stack.enter_async_context(Client(hosts["registry"].url, retries=HURRIED, **IDENTITIES[row.who]))
        try:
            await row.act(client)
            ends = "the content"
        except OCIError as error:
            ends = error.code
        except HTTPError as error:
            ends = str(error.status)
    names = {id(host): name for name, host in hosts.items()}
    seen = {id(host): iter(host.seen) for host in hosts.values()}
    assert tuple(f"{names[id(host)]}: {_shown(next(seen[id(host)]))}" for host in journal) == row.sent
    assert ends == row.ends
    assert not [reply for host in hosts.values() for reply in host.replies]


def test_the_table() -> None:
    assert table() in PAGE.read_text(), "`python -m tests.client.exchanges` prints it as it is now"


def _told(reply: Reply, hosts: dict[str, Scripted]) -> Reply:
    pairs = reply.headers.items() if isinstance(reply.headers, Mapping) else reply.headers
    urls = {name: host.url for name, host in hosts.items()}
    headers = []
    for name, value in pairs:
        for host, url in urls.items():
            value = value.replace(f"{{{host}}}", url)
        headers.append((name, value))
    return dataclasses.replace(reply, headers=headers)


def _shown(seen: Seen) -> str:
    """The credentials of a request, and the permissions that it asks for."""
    scheme, _, value = seen.headers.get("authorization", "-").partition(" ")
    text = f"Basic {base64.b64decode(value).decode()}" if scheme == "Basic" else f"{scheme} {value}".rstrip()
    form = parse_qs(seen.body.decode()) if seen.headers.get("content-type", "").endswith("urlencoded") else {}
    if form:
        assert text == "-"
        text = f"identity token {form['refresh_token'][0]}"
    scopes = form.get("scope") or seen.query.get("scope")
    return f"{text} for {' '.join(scopes)}" if scopes else text
