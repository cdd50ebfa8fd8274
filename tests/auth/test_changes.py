"""Removing a user, a password or a right takes effect at once, whatever tokens say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ociserver import Handler, Memory, OCIError, TrustedProxies
from ociserver.auth import Auth, Identity, Rule, TokenKeys
from ociserver.auth.throttle import Rate, Throttle
from tests.auth.registry import (
    EMPTY,
    GROUPS,
    KEYS,
    PASSWORDS,
    RULES,
    basic,
    bearer,
    digest_of,
    handler,
    htpasswd,
    put_blob,
    put_manifest,
    token,
)
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

TAG = "/v2/team/app/manifests/v1"
SCOPE = "repository:team/app:pull"


async def filled(folder: Path, **settings: object) -> Handler:
    """A registry with an image, which looks at its file of users at each request."""
    app = handler(folder, **{"check_every_s": 0.0, **settings})
    assert (await put_blob(app, "team/app", EMPTY, basic("alice"))).status == 201
    assert (await put_manifest(app, "team/app", "v1", basic("alice"))).status == 201
    return app


async def test_a_removed_user(tmp_path: Path) -> None:
    app = await filled(tmp_path)
    mine = bearer(await token(app, "bob", SCOPE))
    assert (await request(app, "GET", TAG, headers=mine)).status == 200
    htpasswd(tmp_path, {user: password for user, password in PASSWORDS.items() if user != "bob"})
    assert (await request(app, "GET", TAG, headers=mine)).status == 401
    assert (await request(app, "GET", TAG, headers=basic("bob"))).status == 401
    assert (await request(app, "GET", TAG, headers=basic("alice"))).status == 200


async def test_a_new_password_ends_the_tokens_of_the_old_one(tmp_path: Path) -> None:
    app = await filled(tmp_path)
    mine = bearer(await token(app, "bob", SCOPE))
    assert (await request(app, "GET", TAG, headers=mine)).status == 200
    htpasswd(tmp_path, PASSWORDS | {"bob": "new"})
    assert (await request(app, "GET", TAG, headers=mine)).status == 401
    assert (await request(app, "GET", TAG, headers=basic("bob"))).status == 401
    assert (await request(app, "GET", TAG, headers=basic("bob", "new"))).status == 200


async def test_a_broken_file_keeps_the_users(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = await filled(tmp_path)
    path = tmp_path / "users.htpasswd"
    for content in (b"", b"alice:$apr1$x$y\n", b"\xff"):
        path.write_bytes(content)
        with caplog.at_level(logging.ERROR, "ociserver.auth"):
            assert (await request(app, "GET", TAG, headers=basic("bob"))).status == 200
            assert (await request(app, "GET", TAG, headers=basic("bob", "wrong"))).status == 401
    assert len(caplog.records) == 3
    path.unlink()
    assert (await request(app, "GET", TAG, headers=basic("bob"))).status == 200


async def test_a_new_rule_or_group_counts_for_tokens_that_exist(tmp_path: Path) -> None:
    """CVE-2025-23208: zot added the groups of a user, and never took one away."""
    backend = Memory(lax_child_references=True)
    before = await filled(tmp_path, backend=backend)
    mine = bearer(await token(before, "alice", SCOPE))
    # A reload makes a handler anew.
    for changes in ({"groups": {"dev": ["bob"]}}, {"rules": RULES[1:]}):
        after = handler(tmp_path, backend, **changes)
        assert (await request(after, "GET", TAG, headers=mine)).status == 403
    assert (await request(handler(tmp_path, backend, groups=GROUPS), "GET", TAG, headers=mine)).status == 200


async def test_keys_are_rotated(tmp_path: Path) -> None:
    old, new = b"the old key of 32 bytes and more", b"the new key, also of 32 bytes...."
    backend = Memory(lax_child_references=True)
    before = await filled(tmp_path, backend=backend, token_keys=TokenKeys([old]))
    mine = bearer(await token(before, "bob", SCOPE))
    begun = await request(before, "POST", "/v2/team/app/blobs/uploads/", headers=basic("alice"))
    both = handler(tmp_path, backend, token_keys=TokenKeys([new, old]))
    assert (await request(both, "GET", TAG, headers=mine)).status == 200
    assert (await request(both, "GET", begun["location"], headers=basic("alice"))).status == 204
    newer = bearer(await token(both, "bob", SCOPE))
    only_new = handler(tmp_path, backend, token_keys=TokenKeys([new]))
    assert (await request(only_new, "GET", TAG, headers=newer)).status == 200
    assert (await request(only_new, "GET", TAG, headers=mine)).status == 401
    assert (await request(only_new, "GET", begun["location"], headers=basic("alice"))).status == 404


async def test_guessing_is_slowed_down_for_every_way_to_send_a_password(tmp_path: Path) -> None:
    app = handler(tmp_path, throttle=Throttle(per_user=Rate(3, 60.0)))
    for _ in range(10):
        # The same wrong password again, as from a tool that retries, is no other guess.
        assert (await request(app, "GET", "/v2/", headers=basic("bob", "wrong"))).status == 401
    for path in ("/v2/token", TAG):
        assert (await request(app, "GET", path, headers=basic("bob", f"wrong {path}"))).status == 401
    for path in ("/v2/", "/v2/token", TAG):
        reply = await request(app, "GET", path, headers=basic("bob"))
        assert (reply.status, reply.code, int(reply["retry-after"]) > 0) == (429, "TOOMANYREQUESTS", True)
    form = b"grant_type=password&username=bob&password=x"
    assert (await request(app, "POST", "/v2/token", form)).status == 429
    # Others are not locked out: from another address, or as another user.
    elsewhere: dict[str, Any] = {"client": ("198.51.100.7", 1)}
    assert (await request(app, "GET", "/v2/", headers=basic("bob"), **elsewhere)).status == 200
    assert (await request(app, "GET", "/v2/", headers=basic("alice"))).status == 200


async def test_an_address_in_a_header_counts_only_from_a_trusted_proxy(tmp_path: Path) -> None:
    slow = {"throttle": Throttle(per_user=Rate(1, 60.0)), "proxies": TrustedProxies(["192.0.2.0/24"])}
    app = handler(tmp_path, **slow)
    for client, status in ((("192.0.2.1", 1), 200), (("198.51.100.7", 1), 429)):
        # The wrong password and the right one claim to come from different addresses.
        wrong = {"X-Forwarded-For": "203.0.113.1"} | basic("bob", f"wrong {client}")
        assert (await request(app, "GET", "/v2/", headers=wrong, client=client)).status == 401
        right = {"X-Forwarded-For": "203.0.113.2"} | basic("bob")
        assert (await request(app, "GET", "/v2/", headers=right, client=client)).status == status


async def test_the_realm_behind_a_proxy(tmp_path: Path) -> None:
    forwarded = {"Host": "inner", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "registry.example"}
    for settings, realm in (
        ({}, "http://inner/v2/token"),
        ({"proxies": TrustedProxies(["192.0.2.0/24"])}, "https://registry.example/v2/token"),
        ({"realm": "https://login.example/v2/token"}, "https://login.example/v2/token"),
    ):
        reply = await request(handler(tmp_path, **settings), "GET", "/v2/", headers=forwarded)
        assert reply["www-authenticate"].startswith(f'Bearer realm="{realm}",')
    for host in ('a",scope="x', "a b", "a/b", "", "a:b:c"):
        reply = await request(handler(tmp_path), "GET", "/v2/", headers={"Host": host})
        assert reply["www-authenticate"].startswith('Bearer realm="http://192.0.2.2:80/v2/token",')


async def test_an_authenticator_of_ones_own() -> None:
    async def authenticate(headers: Mapping[str, str]) -> Identity | None:
        match headers.get("x-api-key"):
            case "right":
                return Identity("robot", groups=frozenset({"robots"}), via="api-key")
            case "slow down":
                raise OCIError("TOOMANYREQUESTS")
        return None

    rules = [Rule(groups=("robots",), repositories=("*",), allow=("pull", "push"))]
    app = Handler(Memory(lax_child_references=True), auth=Auth(rules, authenticate=authenticate, token_keys=KEYS))
    key = {"X-Api-Key": "right"}
    assert (await put_manifest(app, "app", "v1", key)).status == 201
    for _ in range(2):
        assert (await request(app, "GET", "/v2/app/manifests/v1", headers=key)).status == 200
        assert (await request(app, "GET", "/v2/app/manifests/v1")).status == 401
        assert (await request(app, "GET", "/v2/app/manifests/v1", headers={"X-Api-Key": "wrong"})).status == 401
    assert (await request(app, "GET", "/v2/", headers={"X-Api-Key": "slow down"})).status == 429
    # Its tokens are its own: nobody knows whether it would give a wider one, so an upload begins.
    assert (await put_blob(app, "app", EMPTY, key)).status == 201
    narrow = Identity("robot", frozenset({"robots"}), grants={"new": frozenset({"push"})})
    own = Handler(app.backend, auth=Auth(rules, authenticate=lambda _: _given(narrow), token_keys=KEYS))
    for source in ("app", "absent"):
        target = f"/v2/new/blobs/uploads/?mount={digest_of(EMPTY)}&from={source}"
        assert (await request(own, "POST", target)).status == 202
    # It can sign in at the token endpoint too, and the token keeps its groups.
    reply = await request(app, "GET", "/v2/token?scope=repository:app:pull", headers=key)
    mine = bearer(reply.json()["token"])
    assert (await request(app, "GET", "/v2/app/manifests/v1", headers=mine)).status == 200
    assert (await put_manifest(app, "app", "v2", mine)).status == 401


async def _given(identity: Identity) -> Identity:
    return identity
