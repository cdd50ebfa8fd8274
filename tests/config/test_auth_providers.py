"""The tables `[auth.token-server]` and `[auth.oidc.NAME]`: what is built of them, and mistakes that no schema finds."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from ociserver import Handler, Memory
from ociserver.auth import TokenKeys
from ociserver.config import ConfigError, parse
from ociserver.config.auth import auth_of
from ociserver.config.auth_lints import lints
from tests.auth.provider import AUDIENCE, DISCOVERY, JWKS, Provider, public_jwk, running
from tests.auth.registry import basic, bearer
from tests.docs.snippets import Snippet, snippets
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

RULES: Final = """
[[auth.rules]]
users = ["ci:*"]
claims = { ref = "main" }
repositories = ["team/*"]
allow = ["pull"]
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running() as provider:
        yield provider


def built(text: str, folder: Path) -> Handler:
    config = parse(text, folder / "registry.toml")
    assert config.auth is not None
    return Handler(Memory(), auth=auth_of(config.auth, lambda: TokenKeys([b"the key of the tests, of 32 bytes"]), 1))


def oidc(provider: Provider, more: str = "") -> str:
    return f'[auth.oidc.ci]\nissuer = "{provider.issuer}"\naudience = "{AUDIENCE}"\n{more}\n{RULES}'


def server(provider: Provider, more: str) -> str:
    names = f'service = "{AUDIENCE}"\nissuer = "{provider.issuer}"'
    return f'[auth.token-server]\nrealm = "https://a.example/token"\n{names}\n{more}\n'


@pytest.mark.parametrize("keys", ["", 'jwks-url = "{}/keys"', 'jwks = "keys.json"'])
async def test_a_provider(tmp_path: Path, provider: Provider, keys: str) -> None:
    jwks = {"keys": [public_jwk(key, kid=name) for name, key in provider.keys.items()]}
    (tmp_path / "keys.json").write_text(json.dumps(jwks))
    settings = 'username = "name"\ngroups = "roles"\nrequire = { org = "o" }'
    app = built(oidc(provider, f"{keys.format(provider.issuer)}\n{settings}"), tmp_path)
    right = provider.token(name="x", org="o", ref="main")
    reply = await request(app, "GET", "/v2/team/app/manifests/v1", headers=bearer(right))
    assert reply.status == 404
    reply = await request(app, "GET", "/v2/token?account=ci:x", headers=basic("ci", right))
    assert reply.status == 200
    for wrong in (
        provider.token(name="x", org="p"),
        provider.token(org="o"),
        provider.token(aud="x", name="x", org="o"),
    ):
        assert (await request(app, "GET", "/v2/", headers=bearer(wrong))).status == 401
    other = provider.token(name="x", org="o", ref="other")
    assert (await request(app, "GET", "/v2/team/app/manifests/v1", headers=bearer(other))).code == "DENIED"


async def test_a_token_server(tmp_path: Path, provider: Provider) -> None:
    app = built(server(provider, f'jwks-url = "{provider.issuer}{JWKS}"'), tmp_path)
    access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    token = bearer(provider.token(access=access))
    assert (await request(app, "GET", "/v2/team/app/manifests/v1", headers=token)).status == 404
    assert (await request(app, "GET", "/v2/token")).status == 404
    challenge = (await request(app, "GET", "/v2/"))["www-authenticate"]
    assert challenge == f'Bearer realm="https://a.example/token",service="{AUDIENCE}"'
    # Other algorithms than those that are listed.
    app = built(server(provider, f'jwks-url = "{provider.issuer}{JWKS}"\nalgorithms = ["ES256", "PS256"]'), tmp_path)
    assert (await request(app, "GET", "/v2/", headers=token)).status == 401


async def test_a_reload_keeps_the_keys(tmp_path: Path, provider: Provider) -> None:
    text = oidc(provider)
    before = built(text, tmp_path)
    assert (await request(before, "GET", "/v2/", headers=bearer(provider.token()))).status == 200
    provider.fails(DISCOVERY)
    after = built(text + RULES, tmp_path)
    assert (await request(after, "GET", "/v2/", headers=bearer(provider.token()))).status == 200
    # Other settings are other keys.
    other = built(oidc(provider, 'algorithms = ["RS256"]'), tmp_path)
    assert (await request(other, "GET", "/v2/", headers=bearer(provider.token()))).status == 503


@pytest.mark.parametrize(
    "more", ['jwks = "none"', 'certificates = "none"', 'jwks-url = "https://a.example"\nca = "none"']
)
async def test_a_file_that_is_not_there(tmp_path: Path, provider: Provider, more: str) -> None:
    with pytest.raises(OSError, match=r"No such file"):
        built(server(provider, more), tmp_path)


async def test_a_file_that_has_no_keys(tmp_path: Path, provider: Provider) -> None:
    (tmp_path / "keys").write_text("S3cret")
    with pytest.raises(ValueError, match="cannot be used") as caught:
        built(server(provider, 'certificates = "keys"'), tmp_path)
    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize("module, extra", [("aiohttp", "client"), ("jwt", "auth")])
async def test_packages_that_are_not_installed(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public_jwk(provider.keys["one"])]}))
    monkeypatch.setitem(sys.modules, module, None)
    keys = 'jwks = "keys.json"' if module == "jwt" else f'jwks-url = "{provider.issuer}{JWKS}"'
    with pytest.raises(ImportError, match=rf"pip install 'ociserver\[{extra}\]'"):
        built(server(provider, keys), tmp_path)


async def test_a_url_needs_the_packages_for_signatures_at_the_start_too(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ImportError, match=r"ociserver\[auth\]"):
        built(oidc(provider), tmp_path)


@pytest.mark.parametrize(
    "text, key, words",
    [
        (
            "".join(f'[auth.oidc.{x}]\nissuer = "https://a.example"\naudience = "{x}"\n' for x in "ab") + RULES,
            "auth",
            "the same issuer",
        ),
        (f'[auth.oidc.a]\nissuer = "a S3cret"\naudience = "a"\n{RULES}', "auth.oidc.a", "the URL has"),
        (f'[auth.oidc.a]\nissuer = "http://a.example/S3cret"\naudience = "a"\n{RULES}', "auth.oidc.a", "https://"),
        (
            f'[auth.oidc.a]\nissuer = "https://x"\naudience = "a"\njwks-url = "https://u:S3cret@x"\n{RULES}',
            "auth.oidc.a.jwks-url",
            "a user name or a password",
        ),
        (
            '[auth.token-server]\nrealm = "https://a.example"\nservice = "a\\"S3cret"\nissuer = "a"\njwks = "x"',
            "auth.token-server.service",
            "printable ASCII without quotes",
        ),
    ],
)
async def test_a_mistake_that_only_the_parser_finds(text: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, Path("registry.toml"))
    (problem,) = caught.value.problems
    assert problem.key == key
    assert words in problem.text
    assert "S3cret" not in str(problem)


DOCUMENTED: Final = [
    each for each in snippets("toml") if "[auth.oidc." in each.text or "[auth.token-server]" in each.text
]


@pytest.mark.parametrize("snippet", DOCUMENTED, ids=str)
def test_what_the_documents_show(snippet: Snippet) -> None:
    config = parse(snippet.text, Path("registry.toml"))
    assert config.auth is not None
    assert not list(lints(config.auth, None))
