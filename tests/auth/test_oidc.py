"""Tokens of identity providers: as a token, and as a password that is exchanged for a token."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jwt
import pytest

from ociserver import Handler
from ociserver.auth import Auth, DiscoveredJwks, Fetch, Identity, JwksUrl, OidcProvider, Rule
from tests.auth.clocks import Clock
from tests.auth.provider import AUDIENCE, DISCOVERY, JWKS, Provider, new_key, running, signed
from tests.auth.registry import KEYS, basic, bearer, handler, put_manifest, token
from tests.handler.driver import Reply, request

pytestmark = pytest.mark.anyio

PUSH: Final = "repository:team/app:pull,push"
FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
RULES: Final = [
    Rule(users=("ci:repo:org/*",), repositories=("team/*",), allow=("pull",)),
    Rule(users=("ci:*",), claims={"ref": "refs/heads/main"}, repositories=("team/*",), allow=("push",)),
    Rule(groups=("ci:admins",), repositories=("admin/*",), allow=("pull", "push", "delete")),
    Rule(users=("alice",), repositories=("alice/*",), allow=("pull",)),
]
JOB: Final[dict[str, Any]] = {"sub": "repo:org/app:ref:refs/heads/main", "ref": "refs/heads/main"}


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running() as provider:
        yield provider


def ci(provider: Provider, name: str = "ci", clock: Clock | None = None, **options: Any) -> OidcProvider:
    timed: Any = {} if clock is None else {"clock": clock}
    keys = DiscoveredJwks(provider.issuer, Fetch(), **timed)
    return OidcProvider(name, **{"issuer": provider.issuer, "audience": AUDIENCE, "keys": keys, **options})


@pytest.fixture
def app(tmp_path: Path, provider: Provider) -> Handler:
    return handler(tmp_path, oidc=[ci(provider)], rules=RULES)


async def ping(app: Handler, headers: dict[str, str]) -> Reply:
    return await request(app, "GET", "/v2/", headers=headers)


async def exchanged(app: Handler, password: str, *scopes: str, user: str = "ci") -> Reply:
    query = urlencode([("account", user), *(("scope", scope) for scope in scopes)])
    return await request(app, "GET", f"/v2/token?{query}", headers=basic(user, password))


def said(reply: Reply) -> Any:
    """What the token in an answer says, read by another library."""
    assert reply.status == 200, reply.body
    return jwt.decode(reply.json()["token"], options={"verify_signature": False})


# Ways in


async def test_as_a_token(app: Handler, provider: Provider) -> None:
    job = bearer(provider.token(**JOB))
    assert (await ping(app, job)).status == 200
    assert (await put_manifest(app, "team/app", "v1", job)).status == 201
    assert (await request(app, "GET", "/v2/team/app/manifests/v1", headers=job)).status == 200
    refused = await request(app, "GET", "/v2/alice/app/manifests/v1", headers=job)
    assert (refused.status, refused.code) == (403, "DENIED")
    assert provider.asked == [DISCOVERY, JWKS]


async def test_as_the_password_of_a_user_with_the_name_of_the_provider(app: Handler, provider: Provider) -> None:
    job = basic("ci", provider.token(**JOB))
    assert (await ping(app, job)).status == 200
    assert (await put_manifest(app, "team/app", "v1", job)).status == 201
    for other in ("alice", "github", "CI", ""):
        assert (await ping(app, basic(other, provider.token(**JOB)))).status == 401
    assert (await ping(app, basic("ci", "wrong"))).status == 401
    # Users of the file sign in as before.
    assert (await ping(app, basic("alice"))).status == 200


async def test_exchanged_for_a_token(app: Handler, provider: Provider) -> None:
    reply = await exchanged(app, provider.token(**JOB), PUSH)
    claims = said(reply)
    assert claims["sub"] == "ci:repo:org/app:ref:refs/heads/main"
    assert claims["via"] == "oidc"
    assert claims["access"] == [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]
    # Only what the rules look at.
    assert claims["claims"] == {"ref": ["refs/heads/main"]}
    ours = bearer(reply.json()["token"])
    assert (await put_manifest(app, "team/app", "v1", ours)).status == 201
    assert (await request(app, "GET", "/v2/token", headers=ours)).status == 401


async def test_exchanged_with_a_form_or_as_a_token(app: Handler, provider: Provider) -> None:
    fields = {"grant_type": "password", "username": "ci", "password": provider.token(**JOB), "scope": PUSH}
    reply = await request(app, "POST", "/v2/token", urlencode(fields).encode(), FORM)
    assert said(reply)["sub"].startswith("ci:repo:org/app:")
    reply = await request(app, "GET", "/v2/token", headers=bearer(provider.token(**JOB)))
    assert said(reply)["sub"].startswith("ci:repo:org/app:")


async def test_the_account_is_the_provider_or_the_user(app: Handler, provider: Provider) -> None:
    job = basic("ci", provider.token(sub="x"))
    for account, status in (("ci", 200), ("ci:x", 200), ("x", 401), ("alice", 401)):
        assert (await request(app, "GET", f"/v2/token?account={account}", headers=job)).status == status
    assert (await request(app, "GET", "/v2/token?account=ci", headers=basic("alice"))).status == 401


async def test_a_token_of_ours_ends_with_that_of_the_provider(app: Handler, provider: Provider) -> None:
    ends = int(time.time()) + 100
    assert said(await exchanged(app, provider.token(**JOB, exp=ends)))["exp"] == ends
    reply = await exchanged(app, provider.token(**JOB, exp=ends + 10_000))
    assert said(reply)["exp"] <= time.time() + 300
    assert reply.json()["expires_in"] == 300


async def test_another_node_accepts_the_token_without_the_provider(
    app: Handler, provider: Provider, tmp_path: Path
) -> None:
    ours = bearer((await exchanged(app, provider.token(**JOB), PUSH)).json()["token"])
    provider.fails(DISCOVERY)
    other = handler(tmp_path, oidc=[ci(provider)], rules=RULES)
    assert (await put_manifest(other, "team/app", "v1", ours)).status == 201


@pytest.mark.parametrize(
    "changed", [[], [{"require": {"ref": "*"}}], [{"audience": "other"}], [{"name": "other"}]], ids=str
)
async def test_a_token_of_ours_ends_with_the_settings_of_the_provider(
    app: Handler, provider: Provider, tmp_path: Path, changed: list[dict[str, Any]]
) -> None:
    ours = bearer((await exchanged(app, provider.token(**JOB), PUSH)).json()["token"])
    other = handler(tmp_path, oidc=[ci(provider, **each) for each in changed], rules=RULES)
    assert (await ping(other, ours)).status == 401


# What is refused


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other.example"},
        {"aud": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 513},
        {"sub": "a\nb"},
        {"nbf": 2**40},
    ],
)
async def test_a_token_that_is_not_right(app: Handler, provider: Provider, changes: dict[str, Any]) -> None:
    wrong = signed(provider.keys["one"], provider.claims() | changes, header={"kid": "one"})
    for headers in (bearer(wrong), basic("ci", wrong)):
        assert (await ping(app, headers)).status == 401
        assert (await request(app, "GET", "/v2/token", headers=headers)).status == 401
    reply = await ping(app, bearer(wrong))
    assert 'error="invalid_token"' in reply["www-authenticate"]


async def test_a_token_of_another_provider(tmp_path: Path, provider: Provider) -> None:
    async with running() as other:
        other.keys = {"one": new_key("RSA", 1)}
        app = handler(tmp_path, oidc=[ci(provider), ci(other, "other", username="name")], rules=RULES)
        theirs = other.token(name="repo:org/app", ref="refs/heads/main")
        assert said(await exchanged(app, theirs, user="other"))["sub"] == "other:repo:org/app"
        # As a password of the wrong provider.
        assert (await exchanged(app, theirs, user="ci")).status == 401
        # It says that it is from the other one.
        forged = signed(other.keys["one"], provider.claims(**JOB), header={"kid": "one"})
        assert (await ping(app, bearer(forged))).status == 401
        assert (await exchanged(app, forged)).status == 401
        # A provider has no say about the users of another, and its claims count only for its own.
        assert (await put_manifest(app, "team/app", "v1", bearer(theirs))).status == 403


async def test_our_own_token_is_none_of_a_provider(app: Handler, provider: Provider) -> None:
    ours = await token(app, "alice", "repository:alice/app:pull")
    assert (await ping(app, basic("ci", ours))).status == 401
    # With the same key ids and claims, but our type.
    forged = provider.token(header={"typ": "registry+jwt"})
    assert (await ping(app, bearer(forged))).status == 401


async def test_two_providers_with_one_issuer_or_name(provider: Provider) -> None:
    with pytest.raises(ValueError, match="same issuer"):
        Auth(RULES, oidc=[ci(provider), ci(provider, "other")])
    with pytest.raises(ValueError, match="same name"):
        Auth(RULES, oidc=[ci(provider), ci(provider, issuer="https://other.example")])


@pytest.mark.parametrize("name", ["", "A", "a:b", "a b", "-a", "ä", "a\n", "x" * 64])
async def test_a_provider_whose_name_is_wrong(provider: Provider, name: str) -> None:
    with pytest.raises(ValueError, match="the name of a provider"):
        ci(provider, name)


async def test_a_provider_needs_an_audience(provider: Provider) -> None:
    with pytest.raises(ValueError, match="an audience"):
        ci(provider, audience="")


async def test_what_is_required(tmp_path: Path, provider: Provider) -> None:
    require = {"repository_owner": "org", "ref": "refs/tags/v*", "attempt": "1", "protected": "true"}
    app = handler(tmp_path, oidc=[ci(provider, require=require)], rules=RULES)
    good: dict[str, Any] = {"repository_owner": "org", "ref": "refs/tags/v1", "attempt": 1, "protected": True}
    assert (await ping(app, bearer(provider.token(**good)))).status == 200
    assert (await ping(app, bearer(provider.token(**good | {"ref": ["x", "refs/tags/v1"]})))).status == 200
    changes: list[dict[str, Any]] = [
        {"repository_owner": "organisation"},
        {"repository_owner": None},
        {"ref": "refs/heads/v1"},
        {"ref": ["x"]},
        {"ref": {"refs/tags/v1": 1}},
        {"attempt": 11},
        {"protected": False},
        {"protected": 1},
    ]
    for change in changes:
        wrong = signed(provider.keys["one"], provider.claims(**good) | change, header={"kid": "one"})
        assert (await ping(app, bearer(wrong))).status == 401, change


# Groups and claims


async def test_groups(tmp_path: Path, provider: Provider) -> None:
    app = handler(tmp_path, oidc=[ci(provider, groups="roles")], rules=RULES)

    async def may_push(**claims: Any) -> bool:
        reply = await exchanged(app, provider.token(**claims), "repository:admin/app:push")
        return reply.status == 200 and said(reply)["access"] != []

    assert await may_push(roles=["users", "admins"])
    assert await may_push(roles="admins")
    assert not await may_push(roles=["ci:admins"])
    # They are taken away: the next token has them no more (CVE-2025-23208).
    assert not await may_push(roles=["users"])
    assert not await may_push(roles=[])
    assert not await may_push(roles="")
    assert not await may_push()
    for wrong in ([5], [""], 5, {"admins": 1}, ["admins"] * 257):
        assert (await ping(app, bearer(provider.token(roles=wrong)))).status == 401
    reply = await exchanged(app, provider.token(roles=["admins"]), "repository:admin/app:push")
    assert said(reply)["groups"] == ["ci:admins"]
    assert (await put_manifest(app, "admin/app", "v1", bearer(reply.json()["token"]))).status == 201


async def test_rules_with_claims(app: Handler, provider: Provider) -> None:
    sub = JOB["sub"]
    for ref, status in (("refs/heads/main", 201), ("refs/heads/x", 403), ("refs/heads/main2", 403), (None, 403)):
        claims: dict[str, Any] = {"sub": sub} if ref is None else {"sub": sub, "ref": ref}
        job = provider.token(**claims)
        # The same user each time, so the rights must not be kept by the name.
        assert (await put_manifest(app, "team/app", "v1", bearer(job))).status == status
        reply = await exchanged(app, job, PUSH)
        actions = ["pull", "push"] if status == 201 else ["pull"]
        assert said(reply)["access"] == [{"type": "repository", "name": "team/app", "actions": actions}]
        ours = bearer(reply.json()["token"])
        written = await put_manifest(app, "team/app", "v1", ours)
        assert written.status == status


async def test_claims_that_do_not_fit_into_a_token(tmp_path: Path, provider: Provider) -> None:
    rules = [Rule(authenticated=True, claims={"list": "x"}, repositories=("*",), allow=("pull",))]
    app = handler(tmp_path, oidc=[ci(provider)], rules=rules)
    reply = await exchanged(app, provider.token(list=["y" * 5000, "x"]))
    assert said(reply)["claims"] == {"list": ["x"]}
    reply = await exchanged(app, provider.token(list=["y" * 800] * 8 + ["x"]))
    assert reply.status == 400


# Keys


async def test_a_storm_of_unknown_keys(app: Handler, provider: Provider) -> None:
    await ping(app, bearer(provider.token()))
    asked = list(provider.asked)
    forged = [signed(new_key("RSA", 1), provider.claims(), header={"kid": secrets.token_hex(8)}) for _ in range(1000)]
    for start in range(0, 1000, 100):
        replies = await asyncio.gather(*(ping(app, bearer(each)) for each in forged[start : start + 100]))
        assert {reply.status for reply in replies} == {401}
    assert provider.asked == asked


async def test_a_new_key_of_the_provider(tmp_path: Path, provider: Provider) -> None:
    clock = Clock()
    app = handler(tmp_path, oidc=[ci(provider, clock=clock)], rules=RULES)
    old = provider.token(jti="1")
    assert (await ping(app, bearer(old))).status == 200
    provider.keys = {"two": new_key("RSA", 1)}
    assert (await ping(app, bearer(provider.token("two")))).status == 401
    clock.now += 60
    assert (await ping(app, bearer(provider.token("two")))).status == 200
    # The old key is gone. A token that was verified is remembered for a minute, another one is not accepted.
    assert (await ping(app, bearer(old))).status == 200
    assert (await ping(app, bearer(signed(new_key("RSA"), provider.claims(), header={"kid": "one"})))).status == 401


async def test_while_the_provider_is_down(tmp_path: Path, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    app = handler(tmp_path, oidc=[ci(provider, clock=clock)], rules=RULES)
    provider.fails(DISCOVERY)
    for headers in (bearer(provider.token()), basic("ci", provider.token())):
        for path in ("/v2/", "/v2/token"):
            reply = await request(app, "GET", path, headers=headers)
            assert reply.status == 503
            assert int(reply["retry-after"]) >= 1
            assert provider.issuer not in reply.message
    # Everybody else signs in as before.
    assert (await ping(app, basic("alice"))).status == 200
    provider.heals()
    clock.now += 10
    assert (await ping(app, bearer(provider.token(jti="1")))).status == 200
    provider.fails(DISCOVERY)
    clock.now += 10_000
    assert (await ping(app, bearer(provider.token(jti="2")))).status == 200
    assert [record.levelname for record in caplog.records if record.name == "ociserver"] == ["ERROR", "ERROR"]


async def test_a_token_is_verified_once_a_minute(app: Handler, provider: Provider) -> None:
    job = bearer(provider.token(**JOB))
    await ping(app, job)
    provider.fails(DISCOVERY)
    # What is known is also known to the thread that answers without the event loop.
    value = job["Authorization"].encode()
    auth: Any = app.site.auth
    assert auth.admit_nowait(value, "team/app").name == f"ci:{JOB['sub']}"
    assert auth.admit_nowait(value, "alice/app") is None
    assert auth.admit_nowait(value[:-1], "team/app") is None


# Logs


async def test_no_log_has_a_token(app: Handler, provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    right, wrong = provider.token(**JOB), provider.token(aud="other")
    with caplog.at_level(logging.DEBUG):
        for text in (right, wrong):
            await ping(app, bearer(text))
            await exchanged(app, text, PUSH)
    events = [json.loads(each.message) for each in caplog.records if each.name == "ociserver.audit"]
    assert [each["event"] for each in events] == ["sign-in", "token", "token-refused", "sign-in-refused"]
    assert (events[0]["user"], events[0]["via"]) == (f"ci:{JOB['sub']}", "oidc")
    assert events[3]["reason"] == "the token is for another audience"
    for text in (right, wrong):
        assert not any(part in caplog.text for part in text.split("."))


async def test_keys_from_a_url_without_discovery(tmp_path: Path, provider: Provider) -> None:
    keys = JwksUrl(provider.issuer + JWKS, Fetch())
    oidc = OidcProvider("ci", issuer=provider.issuer, audience=AUDIENCE, keys=keys)
    app = handler(tmp_path, oidc=[oidc], rules=RULES, token_keys=KEYS)
    assert (await ping(app, bearer(provider.token()))).status == 200
    assert provider.asked == [JWKS]


def test_only_a_provider_is_another_name_of_its_users() -> None:
    assert Identity("ci:job", via="oidc").answers_to("ci")
    assert not Identity("ci:job", via="oidc").answers_to("job")
    assert not Identity("ci:job", via="oidc").answers_to("")
    # An authenticator of one's own may give any names.
    assert not Identity("ci:job", via="api-key").answers_to("ci")
