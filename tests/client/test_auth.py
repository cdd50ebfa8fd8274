"""Challenges, tokens, and which host gets the password."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ociserver import Descriptor, HTTPError
from ociserver.client import Challenge, Client, Credentials
from ociserver.client.auth import Scopes, parse_challenges
from ociserver.client.auth.authorization import TokenRequest
from ociserver.client.auth.negotiated import Negotiated
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import digest_of, pieces_of
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

BASIC = "Basic dXNlcjpwYXNzd29yZA=="  # user:password
PULL = "repository:project:pull"
FOUND = Reply(200, {}, b"{}")
BASIC_A = ("basic", {"realm": "a"})


@pytest.fixture
async def tokens(elsewhere: Scripted) -> Scripted:
    """The token server, on another host than the registry."""
    return elsewhere


@pytest.fixture
async def client(registry: Scripted) -> AsyncIterator[Client]:
    async with Client(registry.url, credentials=Credentials("user", "password"), retries=HURRIED) as client:
        yield client


@pytest.fixture
async def anonymous(registry: Scripted) -> AsyncIterator[Client]:
    async with Client(registry.url, retries=HURRIED) as client:
        yield client


def wants(*challenges: str) -> Reply:
    return Reply(401, [("WWW-Authenticate", challenge) for challenge in challenges])


def bearer(tokens: Scripted, scope: str = PULL) -> str:
    return f'Bearer realm="{tokens.url}/token?x=y",service="registry",scope="{scope}"'


def token(name: str, **fields: Any) -> Reply:
    return Reply(200, {}, json.dumps({"token": name, **fields}).encode())


def shown(server: Scripted) -> list[str | None]:
    return [seen.headers.get("authorization") for seen in server.seen]


@pytest.mark.parametrize(
    "header, wanted",
    [
        ("Basic", [("basic", {})]),
        ('Basic realm="a"', [("basic", {"realm": "a"})]),
        ("BASIC Realm=a", [("basic", {"realm": "a"})]),
        ('Basic realm="a, b=\\"c\\""', [("basic", {"realm": 'a, b="c"'})]),
        ('Basic realm="a", Bearer realm=b,service=c', [BASIC_A, ("bearer", {"realm": "b", "service": "c"})]),
        ("Negotiate, Basic realm=a", [("negotiate", {}), BASIC_A]),
        ("Negotiate YWJj==, Basic realm=a", [("negotiate", {}), BASIC_A]),
        ('Bearer realm = "a" , scope="x:y:z"', [("bearer", {"realm": "a", "scope": "x:y:z"})]),
        ("Bearer realm=https://host/token,service=s", [("bearer", {"realm": "https://host/token", "service": "s"})]),
        (', ,Basic realm="a",,', [("basic", {"realm": "a"})]),
        ("", []),
        ('"', []),
        ('Basic realm="open', [("basic", {})]),
    ],
)  # fmt: skip
def test_challenges(header: str, wanted: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges([header]) == [Challenge(scheme, parameters) for scheme, parameters in wanted]


def test_scopes() -> None:
    one = Scopes.parse("repository:a:pull,push registry:catalog:*")
    assert str(one) == "registry:catalog:* repository:a:pull,push"
    assert one >= Scopes.parse("repository:a:push")
    assert one >= Scopes.parse("")
    assert not one >= Scopes.parse("repository:b:pull")
    assert str(one | Scopes.parse("repository:a:delete opaque")) == (
        "opaque registry:catalog:* repository:a:delete,pull,push"
    )
    assert str(Scopes.parse("repository:host:5000/a:pull")) == "repository:host:5000/a:pull"


async def test_basic_is_sent_after_a_challenge_and_from_then_on(client: Client, registry: Scripted) -> None:
    registry.will(wants('Basic realm="a"'), FOUND, FOUND)
    await client.get_tag("project", "latest")
    await client.get_tag("project", "latest")
    assert shown(registry) == [None, BASIC, BASIC]


async def test_a_wrong_password_is_sent_once(client: Client, registry: Scripted) -> None:
    registry.will(wants("Basic"), wants("Basic"))
    with refused("UNAUTHORIZED"):
        await client.get_tag("project", "latest")
    assert len(registry.seen) == 2


async def test_an_anonymous_client_sends_no_credentials(anonymous: Client, registry: Scripted) -> None:
    registry.will(wants("Basic"))
    with refused("UNAUTHORIZED"):
        await anonymous.get_tag("project", "latest")
    assert shown(registry) == [None]


async def test_a_token(client: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens)), FOUND, FOUND)
    tokens.will(token("one", expires_in=300))
    await client.get_tag("project", "latest")
    await client.get_tag("project", "other")
    # The password goes to the token server that the registry named, and the token to the registry.
    assert shown(registry) == [None, "Bearer one", "Bearer one"]
    assert shown(tokens) == [BASIC]
    assert tokens.seen[0].path == "/token"
    assert tokens.seen[0].query == {"x": ["y"], "service": ["registry"], "scope": [PULL], "account": ["user"]}


async def test_an_anonymous_token(anonymous: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens)), FOUND)
    tokens.will(Reply(200, {}, b'{"access_token":"one"}'))
    await anonymous.get_tag("project", "latest")
    assert (shown(registry), shown(tokens)) == ([None, "Bearer one"], [None])


async def test_a_token_for_more_covers_less(client: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens, "repository:project:pull,push")), Reply(201), FOUND, FOUND)
    tokens.will(token("push", expires_in=300), token("other", expires_in=300))
    await client.push_manifest("project", b"{}", "application/json", tags=["latest"])
    await client.get_tag("project", "latest")
    # The client fetches the token of another repository ahead of its request, without another 401.
    await client.get_tag("elsewhere", "latest")
    assert shown(registry) == [None, "Bearer push", "Bearer push", "Bearer other"]
    assert tokens.seen[1].query["scope"] == ["repository:elsewhere:pull"]
    assert registry.seen[1].body == b"{}"


async def test_the_scopes_of_a_mount(client: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens, "repository:to:pull,push")), Reply(201), Reply(200, {"Content-Length": "4"}))
    tokens.will(token("one"))
    await client.mount_blob("from", "to", digest_of(b"text"))
    assert tokens.seen[0].query["scope"] == ["repository:from:pull", "repository:to:pull,push"]


async def test_an_expired_token(client: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens)), FOUND, FOUND)
    # A lifetime shorter than the margin: the token is used once.
    tokens.will(token("one", expires_in=1), token("two", expires_in=300))
    await client.get_tag("project", "latest")
    await client.get_tag("project", "latest")
    assert shown(registry)[1:] == ["Bearer one", "Bearer two"]


@pytest.mark.parametrize("failure", [Reply(500), Reply(401), Reply(200, {}, b"{}")])
async def test_after_a_failure_of_the_token_server_the_registry_is_asked_again(
    client: Client, registry: Scripted, tokens: Scripted, failure: Reply
) -> None:
    """The registry may name another token server by now, or require no token any more."""
    registry.will(wants(bearer(tokens)), FOUND, FOUND)
    tokens.will(token("one", expires_in=1), failure)
    await client.get_tag("project", "latest")
    assert (await client.get_tag("project", "latest")).content == b"{}"
    assert shown(registry) == [None, "Bearer one", None]


@pytest.mark.parametrize("parameter", ["service", "scope"])
@pytest.mark.parametrize("value", ["a\x01b", "ü", "a" * 5000])
async def test_unusable_parameters_are_not_sent_to_the_token_server(
    client: Client, registry: Scripted, tokens: Scripted, parameter: str, value: str
) -> None:
    registry.will(wants(f'Bearer realm="{tokens.url}/token",{parameter}="{value}"'))
    with pytest.raises(HTTPError, match=f"a {parameter}"):
        await client.get_tag("project", "latest")
    assert not tokens.seen


async def test_a_token_that_is_refused_is_fetched_again(client: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens)), FOUND, wants(bearer(tokens)), FOUND)
    tokens.will(token("one", expires_in=300), token("two", expires_in=300))
    await client.get_tag("project", "latest")
    await client.get_tag("project", "latest")
    assert shown(registry) == [None, "Bearer one", "Bearer one", "Bearer two"]


async def test_a_fresh_token_that_is_refused(client: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens)), wants(bearer(tokens)))
    tokens.will(token("one"))
    with refused("UNAUTHORIZED"):
        await client.get_tag("project", "latest")
    assert len(registry.seen) == 2


async def test_concurrent_requests_share_one_token_request(
    client: Client, registry: Scripted, tokens: Scripted
) -> None:
    registry.will(*[wants(bearer(tokens)) for _ in range(20)], *[FOUND for _ in range(20)])
    tokens.will(Reply(200, {}, b'{"token":"one","expires_in":300}', delay_s=0.2))
    await asyncio.gather(*(client.get_tag("project", f"tag-{number}") for number in range(20)))
    assert len(tokens.seen) == 1


async def test_the_most_recently_used_tokens_are_kept() -> None:
    fetched: list[str] = []

    async def fetch(request: TokenRequest) -> tuple[int, bytes]:
        (scope,) = parse_qs(urlsplit(request.url).query)["scope"]
        fetched.append(scope)
        return 200, b'{"token": "%s"}' % scope.encode()

    negotiated = Negotiated(max_tokens=2)
    asked = [Challenge("bearer", {"realm": "https://tokens.example/"})]
    await negotiated.challenge("repository:a:pull", asked, None, fetch)
    for name in "bacab":
        assert await negotiated.header(f"repository:{name}:pull", fetch) == f"Bearer repository:{name}:pull"
    assert [scope.split(":")[1] for scope in fetched] == ["a", "b", "c", "b"]


async def test_a_cancelled_caller_does_not_cancel_the_token_request(
    client: Client, registry: Scripted, tokens: Scripted
) -> None:
    registry.will(wants(bearer(tokens)), wants(bearer(tokens)), FOUND)
    tokens.will(Reply(200, {}, b'{"token":"one","expires_in":300}', delay_s=0.2))
    first, second = (asyncio.ensure_future(client.get_tag("project", tag)) for tag in ("a", "b"))
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).content == b"{}"
    assert len(tokens.seen) == 1


@pytest.mark.parametrize("status, code", [(401, "UNAUTHORIZED"), (403, "UNAUTHORIZED"), (400, "UNAUTHORIZED")])
async def test_a_token_server_that_refuses(
    client: Client, registry: Scripted, tokens: Scripted, status: int, code: str
) -> None:
    registry.will(wants(bearer(tokens)))
    tokens.will(Reply(status))
    with refused(code):
        await client.get_tag("project", "latest")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token":5}', b'{"token":"a\\r\\nX: y"}', b'{"token":""}', b"x" * 100_000]
)
async def test_an_answer_without_a_valid_token(
    client: Client, registry: Scripted, tokens: Scripted, body: bytes
) -> None:
    registry.will(wants(bearer(tokens)))
    tokens.will(Reply(200, {}, body))
    with pytest.raises(HTTPError, match="token server"):
        await client.get_tag("project", "latest")
    assert shown(registry) == [None]


@pytest.mark.parametrize("realm", ["", "token", "file:///etc/passwd", "http://user@host/", "http://[x", "http:///x"])
async def test_a_realm_that_is_not_a_url(client: Client, registry: Scripted, realm: str) -> None:
    registry.will(wants(f'Bearer realm="{realm}"'))
    with pytest.raises(HTTPError, match="not a valid URL"):
        await client.get_tag("project", "latest")


async def test_a_token_server_that_redirects(client: Client, registry: Scripted, tokens: Scripted) -> None:
    """The request to the token server is for that host only."""
    registry.will(wants(bearer(tokens)))
    tokens.will(Reply(307, {"Location": f"{registry.url}/token"}))
    with pytest.raises(HTTPError, match="307"):
        await client.get_tag("project", "latest")
    assert len(registry.seen) == 1


async def test_a_refresh_token(registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens)), FOUND, FOUND)
    tokens.will(token("one", refresh_token="newer", expires_in=1), token("two", expires_in=300))
    async with Client(registry.url, credentials=Credentials(refresh_token="older"), retries=HURRIED) as client:
        await client.get_tag("project", "latest")
        await client.get_tag("project", "latest")
    forms = [parse_qs(seen.body.decode()) for seen in tokens.seen]
    assert [seen.method for seen in tokens.seen] == ["POST", "POST"]
    assert [form["refresh_token"] for form in forms] == [["older"], ["newer"]]
    assert forms[0] | {"refresh_token": []} == {
        "grant_type": ["refresh_token"],
        "client_id": ["ociserver"],
        "service": ["registry"],
        "scope": [PULL],
        "refresh_token": [],
    }


async def test_a_given_access_token(registry: Scripted) -> None:
    registry.will(FOUND, wants('Bearer realm="http://127.0.0.1:1/"'))
    async with Client(registry.url, credentials=Credentials(access_token="mine"), retries=HURRIED) as client:
        await client.get_tag("project", "latest")
        with refused("UNAUTHORIZED"):
            await client.get_tag("project", "latest")
    assert shown(registry) == ["Bearer mine", "Bearer mine"]


async def test_basic_wins_over_bearer(client: Client, registry: Scripted, tokens: Scripted) -> None:
    registry.will(wants(bearer(tokens), "Basic realm=a"), FOUND)
    await client.get_tag("project", "latest")
    assert (shown(registry)[1], tokens.seen) == (BASIC, [])


async def test_an_upload_authenticates_before_it_streams(client: Client, registry: Scripted, tokens: Scripted) -> None:
    """A body that has begun cannot be sent again. So the client authenticates before it."""
    content = bytes(200_000)
    registry.will(
        wants(bearer(tokens, "repository:project:pull,push")), Reply(202, {"Location": "/upload"}), Reply(201)
    )
    tokens.will(token("one", expires_in=300))
    described = Descriptor("application/octet-stream", digest_of(content), len(content))
    await client.push_blob("project", described, pieces_of(content))
    assert shown(registry) == [None, "Bearer one", "Bearer one"]
    assert registry.seen[2].body == content


def test_representations_contain_no_secret() -> None:
    text = repr(Credentials("user", "password", "refresh", "access"))
    assert "user" in text
    assert not any(secret in text for secret in ("password=", "'password'", "'refresh'", "'access'"))


def test_a_user_name_with_a_colon() -> None:
    with pytest.raises(ValueError, match="colon"):
        Credentials("a:b", "c")
