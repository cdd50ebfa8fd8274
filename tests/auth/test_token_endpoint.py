"""The token endpoint, as each client uses it (distribution: token authentication; RFC 6749)."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from ociserver import Handler, Manifest
from tests.auth.registry import PASSWORDS, basic, bearer, handler, token
from tests.handler.driver import Reply, request

pytestmark = pytest.mark.anyio

PUSH = "repository:team/app:pull,push"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def app(tmp_path: Path) -> Handler:
    return handler(tmp_path)


def access(text: str) -> Any:
    """What a token says, read by another library."""
    return jwt.decode(text, options={"verify_signature": False})["access"]


def grant(name: str, *actions: str) -> dict[str, Any]:
    return {"type": "repository", "name": name, "actions": list(actions)}


async def post(app: Handler, fields: list[tuple[str, str]], headers: dict[str, str] | None = None) -> Reply:
    return await request(app, "POST", "/v2/token", urlencode(fields).encode(), FORM | (headers or {}))


async def test_what_docker_login_asks(app: Handler) -> None:
    query = "account=alice&client_id=docker&offline_token=true&service=ociserver"
    reply = await request(app, "GET", f"/v2/token?{query}", headers=basic("alice"))
    assert reply.status == 200
    answer = reply.json()
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] >= 60
    assert abs(datetime.fromisoformat(answer["issued_at"]).timestamp() - time.time()) < 10
    # docker would store it, and forget the password.
    assert "refresh_token" not in answer
    assert reply["cache-control"] == "no-store"
    assert access(answer["token"]) == []
    assert (await request(app, "GET", f"/v2/token?{query}", headers=basic("alice", "wrong"))).status == 401


async def test_what_containerd_posts(app: Handler) -> None:
    fields = [("grant_type", "password"), ("username", "alice"), ("password", PASSWORDS["alice"])]
    reply = await post(app, [*fields, ("client_id", "containerd-client"), ("service", "x"), ("scope", PUSH)])
    assert access(reply.json()["access_token"]) == [grant("team/app", "pull", "push")]
    reply = await post(app, [("grant_type", "password"), ("username", "alice"), ("password", "wrong")])
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")


async def test_what_regctl_posts_without_credentials(app: Handler) -> None:
    reply = await post(app, [("client_id", "regclient"), ("scope", "repository:public/app:pull,push")])
    assert access(reply.json()["token"]) == [grant("public/app", "pull")]
    assert (await post(app, [])).status == 200
    # Without the right grant_type, a password must not be ignored.
    assert (await post(app, [("username", "alice"), ("password", PASSWORDS["alice"])])).status == 400


async def test_a_post_with_credentials_in_the_header(app: Handler) -> None:
    reply = await post(app, [("scope", PUSH)], basic("alice"))
    assert access(reply.json()["token"]) == [grant("team/app", "pull", "push")]


async def test_refresh_tokens_are_refused_so_that_clients_send_the_password(app: Handler) -> None:
    # containerd and ggcr then send a GET.
    reply = await post(app, [("grant_type", "refresh_token"), ("refresh_token", "x")])
    assert (reply.status, reply.code) == (400, "UNSUPPORTED")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods(app: Handler, method: str) -> None:
    reply = await request(app, method, "/v2/token")
    assert (reply.status, reply["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize(
    "scopes, granted",
    [
        # A mount needs two repositories: as two parameters, or as one with a space.
        ([PUSH, "repository:team/base:pull"], [grant("team/app", "pull", "push"), grant("team/base", "pull")]),
        ([f"{PUSH} repository:team/base:pull"], [grant("team/app", "pull", "push"), grant("team/base", "pull")]),
        (["repository:team/app:*"], [grant("team/app", "delete", "pull", "push")]),
        (["repository:team/app:delete,fly"], [grant("team/app", "delete")]),
        # What nobody has is left out, and is no error.
        (["repository:other/app:pull", "plugin:a:pull", "x", ""], []),
        (["registry:catalog:*"], [{"type": "registry", "name": "catalog", "actions": ["*"]}]),
    ],
)
async def test_scopes(app: Handler, scopes: list[str], granted: list[Any]) -> None:
    assert access(await token(app, "alice", *scopes)) == granted


@pytest.mark.parametrize(
    "user, actions",
    [("alice", ["delete", "pull", "push"]), ("bob", ["pull"]), ("ci-1", ["pull", "push"]), ("mallory", []), ("", [])],
)
async def test_a_token_has_no_more_than_the_rules_give(app: Handler, user: str, actions: list[str]) -> None:
    found = access(await token(app, user, "repository:team/app:*"))
    assert found == ([grant("team/app", *actions)] if actions else [])


async def test_the_account_must_be_that_of_the_credentials(app: Handler) -> None:
    assert (await request(app, "GET", "/v2/token?account=bob", headers=basic("alice"))).status == 401
    assert (await request(app, "GET", "/v2/token?account=bob")).status == 401


async def test_a_token_gives_no_other_token(app: Handler) -> None:
    narrow = bearer(await token(app, "alice", "repository:team/app:pull"))
    assert (await request(app, "GET", f"/v2/token?scope={PUSH}", headers=narrow)).status == 401
    anonymous = bearer(await token(app, ""))
    assert (await request(app, "GET", f"/v2/token?scope={PUSH}", headers=anonymous)).status == 401


async def test_bounds(app: Handler) -> None:
    reply = await request(app, "POST", "/v2/token", b"scope=" + b"x" * 20_000, FORM)
    assert reply.status == 413
    assert (await request(app, "GET", "/v2/token?scope=" + "x" * 20_000)).status == 400
    assert (await post(app, [("scope", "repository:a:pull")] * 50)).status == 400
    assert (await post(app, [("a", "b")] * 200)).status == 400
    assert (await post(app, [("grant_type", "password"), ("grant_type", "refresh_token")])).status == 400
    assert (await request(app, "GET", "/v2/token?scope=%ff")).status == 400


async def test_below_a_prefix(app: Handler) -> None:
    mounted: dict[str, Any] = {"root_path": "/registry"}
    ping = await request(app, "GET", "/registry/v2/", headers={"Host": "example"}, **mounted)
    assert ping["www-authenticate"].startswith('Bearer realm="http://example/registry/v2/token"')
    reply = await request(app, "GET", "/registry/v2/token", headers=basic("alice"), **mounted)
    assert reply.status == 200
    used = await request(app, "GET", "/registry/v2/", headers=bearer(reply.json()["token"]), **mounted)
    assert used.status == 200


async def test_a_repository_may_have_the_name_of_the_endpoint(app: Handler) -> None:
    assert (await request(app, "GET", "/v2/token/tags/list", headers=basic("alice"))).code == "DENIED"
    assert (await request(app, "GET", "/v2/token/")).status == 404


async def test_without_authentication_there_is_no_endpoint() -> None:
    assert (await request(Handler(object.__new__(_Empty)), "GET", "/v2/token")).status == 404


class _Empty:
    async def get_tag(self, repository: str, tag: str) -> Manifest:
        raise AssertionError
