"""An external token server, as distribution is used with one."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from ociserver import Handler, Memory
from ociserver.auth import Auth, Fetch, JwksFile, JwksUrl, OidcProvider, Rule, TokenServer
from tests.auth.provider import JWKS, Provider, new_key, public_jwk, running, signed
from tests.auth.registry import EMPTY, KEYS, basic, bearer, digest_of, handler, put_blob, put_manifest, token
from tests.handler.driver import Reply, request

pytestmark = pytest.mark.anyio

REALM: Final = "https://tokens.example/auth?x=1"
SERVICE: Final = "registry.example"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running() as provider:
        yield provider


def server(provider: Provider, **options: Any) -> TokenServer:
    keys = JwksUrl(provider.issuer + JWKS, Fetch())
    return TokenServer(**{"realm": REALM, "service": SERVICE, "issuer": provider.issuer, "keys": keys, **options})


def alone(provider: Provider) -> Handler:
    """A registry without rules: the tokens decide."""
    return Handler(Memory(lax_child_references=True), auth=Auth([], token_server=server(provider)))


def grant(name: str, *actions: str, kind: str = "repository") -> dict[str, Any]:
    return {"type": kind, "name": name, "actions": list(actions)}


def of(provider: Provider, *access: dict[str, Any], **changes: Any) -> dict[str, str]:
    """The header of a client with a token for this."""
    return bearer(provider.token(**{"sub": "alice", "access": list(access), **changes}))


async def ping(app: Handler, headers: dict[str, str] | None = None) -> Reply:
    return await request(app, "GET", "/v2/", headers=headers)


async def test_the_challenge_names_the_token_server(provider: Provider) -> None:
    app = alone(provider)
    reply = await ping(app)
    assert reply.status == 401
    assert reply["www-authenticate"] == f'Bearer realm="{REALM}",service="{SERVICE}"'
    reply = await request(app, "GET", "/v2/team/app/manifests/v1")
    assert reply["www-authenticate"].endswith(f'service="{SERVICE}",scope="repository:team/app:pull"')


async def test_there_is_no_token_endpoint(provider: Provider) -> None:
    app = alone(provider)
    for headers in (None, basic("alice"), of(provider)):
        for method in ("GET", "POST"):
            assert (await request(app, method, "/v2/token", headers=headers)).status == 404


async def test_the_token_decides(provider: Provider) -> None:
    app = alone(provider)
    writer = of(provider, grant("team/app", "pull", "push"))
    assert (await ping(app, writer)).status == 200
    assert (await put_blob(app, "team/app", b"{}", writer)).status == 201
    assert (await put_manifest(app, "team/app", "v1", writer)).status == 201
    # A tag may be moved.
    assert (await put_manifest(app, "team/app", "v1", writer, "2")).status == 201
    reader = of(provider, grant("team/app", "pull"))
    assert (await request(app, "GET", "/v2/team/app/manifests/v1", headers=reader)).status == 200
    for headers in (reader, of(provider), of(provider, grant("team/app2", "*")), of(provider, grant("team", "*"))):
        reply = await put_manifest(app, "team/app", "v1", headers)
        assert reply.status == 401
        assert 'error="insufficient_scope"' in reply["www-authenticate"]
    # Who may push may not delete (CVE-2026-61833).
    assert (await request(app, "DELETE", "/v2/team/app/manifests/v1", headers=writer)).status == 401
    deleter = of(provider, grant("team/app", "delete"))
    assert (await request(app, "DELETE", "/v2/team/app/manifests/v1", headers=deleter)).status == 202


async def test_the_list_of_repositories(provider: Provider) -> None:
    app = alone(provider)
    await put_manifest(app, "team/app", "v1", of(provider, grant("team/app", "push")))
    assert (await request(app, "GET", "/v2/_catalog", headers=of(provider, grant("team/app", "*")))).status == 401
    everything = of(provider, grant("catalog", "*", kind="registry"))
    assert (await request(app, "GET", "/v2/_catalog", headers=everything)).json() == {"repositories": ["team/app"]}


async def test_a_client_without_an_account(provider: Provider) -> None:
    """docs of distribution: `sub` is empty if the client did not authenticate."""
    app = alone(provider)
    await put_manifest(app, "public/app", "v1", of(provider, grant("public/app", "push")))
    for subject in ({"sub": ""}, {"sub": None}):
        claims = provider.claims(access=[grant("public/app", "pull")]) | subject
        nobody = bearer(signed(provider.keys["one"], claims, header={"kid": "one"}))
        assert (await ping(app, nobody)).status == 200
        assert (await request(app, "GET", "/v2/public/app/manifests/v1", headers=nobody)).status == 200
        assert (await put_manifest(app, "public/app", "v1", nobody)).status == 401
    # Without a token nothing is allowed, although no rule forbids it.
    assert (await request(app, "GET", "/v2/public/app/manifests/v1")).status == 401
    assert (await request(app, "GET", "/v2/_catalog")).status == 401


async def test_rules_narrow_the_token(tmp_path: Path, provider: Provider) -> None:
    rules = [
        Rule(users=("alice",), repositories=("team/*",), allow=("pull", "create")),
        Rule(anonymous=True, repositories=("public/*",), allow=("pull",)),
    ]
    app = handler(tmp_path, rules=rules, token_server=server(provider))
    everything = [grant(name, "*") for name in ("team/app", "public/app", "other")]
    alice = of(provider, *everything)
    assert (await put_manifest(app, "team/app", "v1", alice)).status == 201
    moved = await put_manifest(app, "team/app", "v1", alice, "2")
    assert (moved.status, moved.code) == (403, "DENIED")
    assert (await put_manifest(app, "other", "v1", alice)).status == 403
    assert (await put_manifest(app, "team/app", "v2", of(provider, grant("team/app", "pull")))).status == 401
    nobody = of(provider, *everything, sub="")
    assert (await request(app, "GET", "/v2/public/app/manifests/v1", headers=nobody)).status == 404
    assert (await request(app, "GET", "/v2/team/app/manifests/v1", headers=nobody)).status == 401


async def test_a_mount_from_where_the_token_does_not_allow_to_pull(tmp_path: Path, provider: Provider) -> None:
    """Only the token server knows whether it would give a wider token, so an upload begins."""
    rules = [Rule(users=("alice",), repositories=("*",), allow=("pull", "push"))]
    target = f"/v2/app/blobs/uploads/?mount={digest_of(EMPTY)}"
    for app in (alone(provider), handler(tmp_path, rules=rules, token_server=server(provider))):
        assert (await put_blob(app, "base", EMPTY, of(provider, grant("base", "push")))).status == 201
        narrow = of(provider, grant("app", "pull", "push"))
        wide = of(provider, grant("app", "pull", "push"), grant("base", "pull"))
        for headers, status in ((narrow, 202), (wide, 201)):
            assert (await request(app, "POST", f"{target}&from=base", headers=headers)).status == status
        other = target.replace("/app/", "/new/")
        for access, status in (([], 202), ([grant("base", "pull")], 201)):
            headers = of(provider, grant("new", "push"), *access)
            assert (await request(app, "POST", other, headers=headers)).status == status


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"iss": "other"},
        {"exp": 5},
        # An ID token: it says who somebody is, and not what they may do.
        {"access": None},
        {"access": "repository:team/app:pull"},
        {"access": [{"type": "repository", "name": 5, "actions": ["pull"]}]},
        {"access": [{"type": "repository", "name": "team/app", "actions": "pull"}]},
        {"access": {}},
        {"sub": 5},
        {"sub": "a\nb"},
        {"sub": "x" * 513},
    ],
)
async def test_a_token_that_is_not_right(provider: Provider, changes: dict[str, Any]) -> None:
    claims = provider.claims() | {"sub": "alice", "access": [grant("team/app", "pull")]} | changes
    wrong = bearer(signed(provider.keys["one"], claims, header={"kid": "one"}))
    reply = await ping(alone(provider), wrong)
    assert reply.status == 401
    assert reply["www-authenticate"].endswith('error="invalid_token"')


async def test_access_may_be_null_as_go_writes_it(provider: Provider) -> None:
    text = json.dumps(provider.claims(access=None))
    from jwt import api_jws

    empty = api_jws.encode(text.encode(), provider.keys["one"], "RS256", {"kid": "one"})
    assert (await ping(alone(provider), bearer(empty))).status == 200


async def test_our_own_tokens_are_refused(tmp_path: Path, provider: Provider) -> None:
    ours = bearer(await token(handler(tmp_path), "alice", "repository:team/app:pull"))
    app = handler(tmp_path, token_server=server(provider))
    assert (await ping(app, ours)).status == 401
    # Passwords of users of a file are accepted, without a token.
    assert (await ping(app, basic("alice"))).status == 200


async def test_beside_a_provider_of_identities(tmp_path: Path, provider: Provider) -> None:
    async with running() as other:
        other.keys = {"one": new_key("RSA", 1)}
        oidc = OidcProvider("ci", issuer=other.issuer, audience=SERVICE, keys=JwksUrl(other.issuer + JWKS, Fetch()))
        rules = [Rule(users=("ci:job", "alice"), repositories=("team/*",), allow=("pull", "push"))]
        app = handler(tmp_path, rules=rules, token_server=server(provider), oidc=[oidc])
        assert (await put_manifest(app, "team/app", "v1", bearer(other.token()))).status == 201
        # An identity is no right, and a right is no identity.
        assert (await ping(app, bearer(provider.token()))).status == 401
        assert (await ping(app, basic("ci", provider.token(access=[])))).status == 401
        forged = signed(other.keys["one"], provider.claims(access=[]), header={"kid": "one"})
        assert (await ping(app, bearer(forged))).status == 401
        # A claim `access` of the other one grants nothing.
        reader = bearer(other.token(access=[grant("other", "*")], jti="1"))
        assert (await put_manifest(app, "other", "v1", reader)).status == 403
        with pytest.raises(ValueError, match="same issuer"):
            Auth(rules, token_server=server(provider, issuer=other.issuer), oidc=[oidc])


async def test_without_rules_only_its_own_tokens_count(tmp_path: Path, provider: Provider) -> None:
    app = handler(tmp_path, rules=[], token_server=server(provider))
    assert (await request(app, "GET", "/v2/team/app/manifests/v1", headers=basic("alice"))).status == 403
    assert (await request(app, "GET", "/v2/_catalog", headers=basic("alice"))).json() == {"repositories": []}


async def test_keys_from_a_file(tmp_path: Path, provider: Provider) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public_jwk(key, kid=name) for name, key in provider.keys.items()]}))
    accepted = server(provider, keys=JwksFile(path), issuer="a name")
    app = Handler(Memory(), auth=Auth([], token_server=accepted, token_keys=KEYS))
    assert (await ping(app, of(provider, iss="a name"))).status == 200
    assert provider.asked == []


@pytest.mark.parametrize("name", ["", 'a"b', "a\\b", "a\r\nX: y", " a", "a ", "ä"])
async def test_a_name_that_cannot_stand_in_a_header(provider: Provider, name: str) -> None:
    for key in ("realm", "service"):
        with pytest.raises(ValueError, match="printable ASCII"):
            server(provider, **{key: name})


async def test_a_token_ends(provider: Provider) -> None:
    app = alone(provider)
    short = of(provider, exp=int(time.time()) + 3600)
    assert (await ping(app, short)).status == 200
    auth: Any = app.site.auth
    known = auth._authenticator.identify_nowait(short["Authorization"].encode())
    # It is verified again after a minute, so that a key that was taken away counts.
    assert time.time() + 50 < known.until <= time.time() + 60
