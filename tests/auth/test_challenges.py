"""What a client that has no right yet is told, so that it signs in: docs/auth.md, and RFC 6750."""

from __future__ import annotations

from pathlib import Path

import pytest

from ociserver import Handler
from tests.auth import registry
from tests.auth.registry import basic, bearer, handler, put_manifest, token
from tests.handler.driver import Exchange, Reply, body_messages, make_scope, request

pytestmark = pytest.mark.anyio

REALM = 'Bearer realm="http://registry.example/v2/token",service="ociserver"'
HOST = {"Host": "registry.example"}


@pytest.fixture
def app(tmp_path: Path) -> Handler:
    return handler(tmp_path)


async def test_a_ping_without_credentials_has_exactly_one_challenge(app: Handler) -> None:
    reply = await request(app, "GET", "/v2/", headers=HOST)
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    assert reply.all("www-authenticate") == [REALM]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_ping_with_credentials(app: Handler, method: str) -> None:
    assert (await request(app, method, "/v2/", headers=basic("mallory"))).status == 200
    assert (await request(app, method, "/v2/", headers=bearer(await token(app, "mallory")))).status == 200
    # Anonymous clients ping with the token that they got.
    assert (await request(app, method, "/v2/", headers=bearer(await token(app, "")))).status == 200


@pytest.mark.parametrize(
    "method, path, scope",
    [
        ("GET", "/v2/team/app/manifests/latest", "repository:team/app:pull"),
        ("HEAD", "/v2/team/app/manifests/latest", "repository:team/app:pull"),
        ("GET", "/v2/team/app/tags/list", "repository:team/app:pull"),
        ("GET", "/v2/team/app/referrers/sha256:" + "0" * 64, "repository:team/app:pull"),
        ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
        (
            "POST",
            "/v2/team/app/blobs/uploads/?from=team/base&mount=sha256:" + "0" * 64,
            "repository:team/app:pull,push repository:team/base:pull",
        ),
        ("DELETE", "/v2/team/app/manifests/latest", "repository:team/app:delete"),
        ("PUT", "/v2/public/app/manifests/latest", "repository:public/app:pull,push"),
    ],
)
async def test_the_scope_that_a_request_needs(app: Handler, method: str, path: str, scope: str) -> None:
    reply = await request(app, method, path, headers=HOST)
    assert reply.status == 401
    assert reply.all("www-authenticate") == [f'{REALM},scope="{scope}"']


async def test_the_catalog_needs_a_scope_of_its_own(tmp_path: Path) -> None:
    app = handler(tmp_path, rules=[rule for rule in registry.RULES if not rule.anonymous])
    reply = await request(app, "GET", "/v2/_catalog", headers=HOST)
    assert (reply.status, reply.all("www-authenticate")) == (401, [f'{REALM},scope="registry:catalog:*"'])
    narrow = bearer(await token(app, "bob", "repository:team/app:pull"))
    reply = await request(app, "GET", "/v2/_catalog", headers=HOST | narrow)
    assert reply.all("www-authenticate") == [f'{REALM},scope="registry:catalog:*",error="insufficient_scope"']


@pytest.mark.parametrize(
    "headers",
    [
        bearer("x"),
        bearer("a.b.c"),
        bearer(""),
        {"Authorization": "Bearer"},
    ],
)
async def test_a_wrong_token_is_named_so_that_clients_get_another(app: Handler, headers: dict[str, str]) -> None:
    for path in ("/v2/", "/v2/public/app/manifests/latest", "/v2/team/app/manifests/latest"):
        reply = await request(app, "GET", path, headers=HOST | headers)
        assert reply.status == 401
        (challenge,) = reply.all("www-authenticate")
        assert challenge.startswith(REALM)
        assert ('error="invalid_token"' in challenge) == headers["Authorization"].startswith("Bearer ")


async def test_a_token_that_is_too_narrow(app: Handler) -> None:
    narrow = bearer(await token(app, "alice", "repository:team/app:pull"))
    reply = await put_manifest(app, "team/app", "latest", HOST | narrow)
    assert reply.status == 401
    assert reply.all("www-authenticate") == [
        f'{REALM},scope="repository:team/app:pull,push",error="insufficient_scope"'
    ]


async def test_no_challenge_where_signing_in_does_not_help(app: Handler) -> None:
    for headers in (basic("mallory"), bearer(await token(app, "mallory", "repository:team/app:pull"))):
        reply = await request(app, "GET", "/v2/team/app/manifests/latest", headers=headers)
        assert (reply.status, reply.code) == (403, "DENIED")
        assert not reply.all("www-authenticate")


async def test_an_anonymous_token_on_what_is_private_asks_to_sign_in(app: Handler) -> None:
    anonymous = bearer(await token(app, "", "repository:team/app:pull"))
    for path in ("manifests/latest", "tags/list", "referrers/sha256:" + "0" * 64, "blobs/uploads/eA"):
        reply = await request(app, "GET", f"/v2/team/app/{path}", headers=anonymous)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED"), path


@pytest.mark.parametrize(
    "value",
    ["Basic", "Basic !", "Basic YQ==", "Digest x", "Negotiate x", "", "Basic \xff", "bearer \xff", "Basic /w=="],
)
async def test_odd_credentials_are_refused(app: Handler, value: str) -> None:
    for path in ("/v2/", "/v2/token", "/v2/public/app/tags/list"):
        reply = await request(app, "GET", path, headers={"Authorization": value})
        assert reply.status == 401
        assert len(reply.all("www-authenticate")) == 1


@pytest.mark.parametrize("path", ["/v2/", "/v2/token", "/v2/public/app/manifests/latest"])
async def test_several_or_oversized_headers_are_refused(app: Handler, path: str) -> None:
    one = [(b"authorization", value.encode()) for value in basic("alice").values()]
    for headers in (one * 2, [(b"authorization", b"Bearer " + b"x" * 20_000)]):
        reply = await send_raw(app, path, headers)
        assert (reply.status, reply.code) == (400, "UNAUTHORIZED")


async def send_raw(app: Handler, path: str, headers: list[tuple[bytes, bytes]]) -> Reply:
    """Send headers of which one is repeated."""
    scope = make_scope("GET", path)
    scope["headers"] = headers
    exchange = Exchange(body_messages([]))
    await app(scope, exchange.receive, exchange.send)
    return exchange.reply


async def test_schemes_are_not_case_sensitive(app: Handler) -> None:
    secret = basic("alice")["Authorization"].removeprefix("Basic ")
    assert (await request(app, "GET", "/v2/", headers={"Authorization": f"bASIC {secret}"})).status == 200
    text = await token(app, "alice")
    assert (await request(app, "GET", "/v2/", headers={"Authorization": f"bEARER {text}"})).status == 200


async def test_empty_basic_credentials_are_none(app: Handler) -> None:
    empty = {"Authorization": "Basic Og=="}
    assert (await request(app, "GET", "/v2/", headers=empty)).status == 401
    assert (await request(app, "GET", "/v2/token", headers=empty)).status == 200
    assert (await request(app, "GET", "/v2/public/app/tags/list", headers=empty)).status == 404
