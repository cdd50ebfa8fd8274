"""Which token servers get the password for a registry. Two servers that both really check it: `localhost` is another
host than `127.0.0.1`, although it is the same machine."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from ociserver import Backend, HTTPError
from ociserver.client import Client, Credentials
from ociserver.client.auth import token_hosts
from ociserver.client.auth.token_hosts import TokenHosts
from ociserver.config import load
from tests.auth.registry import PASSWORDS, htpasswd
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted
from tests.support.server import PROGRAM, Server, serve
from tests.support.signed_in import docker_config

pytestmark = pytest.mark.anyio

USER = Credentials("bob", PASSWORDS["bob"])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A registry, and the server at `localhost` that issues the tokens for it."""
    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp(name) for name in ("registry", "tokens")]
        users = htpasswd(folders[0])
        tokens = _serve(stack, folders[1], users, "")
        registry = _serve(stack, folders[0], users, f'realm = "http://localhost:{tokens.port}/v2/token"')
        yield registry, tokens


def _serve(stack: ExitStack, folder: Path, users: Path, realm: str) -> Server:
    key, rule = '"one key of 32 bytes for two servers"', 'authenticated = true\nrepositories = ["*"]\nallow = ["pull"]'
    (folder / "registry.toml").write_text(
        f'[registry]\nkind = "memory"\n[auth]\ntoken-keys = [{key}]\n{realm}\n'
        f'[auth.htpasswd]\nfile = "{users}"\n[[auth.rules]]\n{rule}\n'
    )
    return stack.enter_context(serve(["--config", str(folder / "registry.toml")], folder))


def asked(tokens: Server) -> int:
    """Requests for tokens that a server has in its log."""
    return tokens.log.read_text().count("/v2/token")


def _wait_for(tokens: Server, count: int) -> None:
    """Wait until the log, which another thread writes, has so many requests for tokens."""
    deadline = time.monotonic() + 10
    while asked(tokens) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def names(client: Backend) -> list[str]:
    return [name async for name in client.repositories()]


async def test_another_host_gets_no_password(servers: tuple[Server, Server]) -> None:
    registry, tokens = servers
    before = asked(tokens)
    async with Client(registry.url, credentials=USER, retries=HURRIED) as client:
        with pytest.raises(
            HTTPError, match=rf"http://localhost:{tokens.port} as its token server.*token-hosts = "
        ) as caught:
            await names(client)
    assert PASSWORDS["bob"] not in str(caught.value)
    assert asked(tokens) == before


async def test_a_host_that_is_named_gets_it(servers: tuple[Server, Server]) -> None:
    registry, tokens = servers
    before = asked(tokens)
    for host in ("localhost", "LOCALHOST", f"localhost:{tokens.port}"):
        async with Client(registry.url, credentials=USER, retries=HURRIED, token_hosts=[host]) as client:
            assert await names(client) == []
    await asyncio.to_thread(_wait_for, tokens, before + 3)
    async with Client(registry.url, credentials=USER, retries=HURRIED, token_hosts=["localhost:1"]) as client:
        with pytest.raises(HTTPError, match="token server"):
            await names(client)


def test_on_the_command_line(servers: tuple[Server, Server], tmp_path: Path) -> None:
    registry, _ = servers
    (tmp_path / "config.json").write_text(docker_config(registry.address, ("bob", PASSWORDS["bob"])))

    def ls(*flags: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_CONFIG": str(tmp_path)}
        return subprocess.run(
            [*PROGRAM, "ls", registry.address, "--json", *flags], capture_output=True, text=True, env=environment
        )

    refused = ls()
    assert refused.returncode == 1
    assert "--token-host localhost:" in refused.stderr
    assert json.loads(ls("--token-host", "localhost").stdout) == {"registry": registry.address, "repositories": []}


async def test_in_a_configuration_file(servers: tuple[Server, Server], tmp_path: Path) -> None:
    registry, _ = servers
    table = f'[registry]\nkind = "client"\nurl = "{registry.url}"\nusername = "bob"\npassword = "{PASSWORDS["bob"]}"\n'
    file = tmp_path / "registry.toml"
    file.write_text(table)
    async with load(file).backend() as backend:
        with pytest.raises(HTTPError, match="token server"):
            await names(backend)
    file.write_text(f'{table}token-hosts = ["localhost"]\n')
    async with load(file).backend() as backend:
        assert await names(backend) == []


async def test_without_credentials_any_token_server_is_asked(registry: Scripted, elsewhere: Scripted) -> None:
    """It learns nothing. What it gives as a refresh token is not sent to the next one."""
    realm = elsewhere.url.replace("127.0.0.1", "localhost")
    for path in "ab":
        registry.will(Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm}/{path}"'}), Reply(200, {}, b"{}"))
    answer = b'{"token":"%d","refresh_token":"secret","expires_in":1}'
    elsewhere.otherwise = lambda _: Reply(200, {}, answer % len(elsewhere.seen))
    async with Client(registry.url, retries=HURRIED) as client:
        await client.get_tag("project", "latest")
        await client.get_tag("project", "latest")
    assert {seen.method for seen in elsewhere.seen} == {"GET"}


@pytest.mark.parametrize("credentials", [Credentials("a", "b"), Credentials(refresh_token="c")], ids=repr)
async def test_an_identity_token_is_a_password(
    registry: Scripted, elsewhere: Scripted, credentials: Credentials
) -> None:
    realm = elsewhere.url.replace("127.0.0.1", "localhost")
    registry.will(Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm}/a"'}))
    async with Client(registry.url, credentials=credentials, retries=HURRIED) as client:
        with pytest.raises(HTTPError, match="gets no password"):
            await client.get_tag("project", "latest")
    assert not elsewhere.seen


@pytest.mark.parametrize(
    "registry, realm",
    [
        ("a.example", "https://a.example/token"),
        ("a.example", "https://A.EXAMPLE:444/token"),
        ("a.example:5000", "https://a.example/token"),
        ("[::1]:5000", "http://[::1]:5001/token"),
        ("registry-1.docker.io", "https://auth.docker.io/token"),
        ("index.docker.io", "https://auth.docker.io/token"),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("docker.elastic.co", "https://docker-auth.elastic.co/auth"),
        ("registry.digitalocean.com", "https://api.digitalocean.com/v2/registry/auth"),
        ("nvcr.io", "https://authn.nvidia.com/token"),
    ],
)
def test_known_hosts(registry: str, realm: str) -> None:
    TokenHosts(registry).check(realm)


@pytest.mark.parametrize(
    "realm",
    [
        "https://b.example/token",
        "https://token.a.example/token",
        "https://example/token",
        "https://a.example.b/token",
        "https://a.example%2eb/token",
        "https://xa.example/token",
        "https://auth.docker.io/token",
        "https://gitlab.com/jwt/auth",
        f"https://b.example/{quote('@a.example')}",
    ],
)
def test_other_hosts(realm: str) -> None:
    with pytest.raises(HTTPError, match="another host"):
        TokenHosts("a.example").check(realm)


def test_without_the_name_of_the_registry() -> None:
    """Only what is named is trusted."""
    TokenHosts("", ["a.example"]).check("https://a.example/")
    with pytest.raises(HTTPError, match="the registry names"):
        TokenHosts("").check("https://a.example/")


@pytest.mark.parametrize(
    "host", ["", "https://a.example", "a.example/", "user@a.example", "a b", "a:x", "a:0", "ä", "a?"]
)
def test_texts_that_are_not_hosts(host: str) -> None:
    with pytest.raises(ValueError, match="name of a host"):
        Client("https://a.example", token_hosts=[host])


def test_the_document_has_all_known_hosts() -> None:
    page = (Path(__file__).parents[2] / "docs" / "client-auth.md").read_text()
    for registry, hosts in token_hosts.KNOWN.items():
        assert registry in page
        assert all(f"`{host}`" in page for host in hosts)
