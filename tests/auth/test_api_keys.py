"""API keys: what they allow, how they end, and what is recorded about them. The store is a real one."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ociserver import Handler, Store
from ociserver.api_keys import SECRET_PREFIX, ApiKey, hash_of, is_secret, new_secret
from ociserver.auth import Auth, OidcProvider, Rule
from ociserver.auth.key_accounts import KeyAccounts
from tests.auth.clocks import Clock
from tests.auth.registry import EMPTY, KEYS, basic, bearer, digest_of, htpasswd, put_blob, put_manifest
from tests.handler.driver import Reply, make_scope, request

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
TAG = "/v2/team/app/manifests/v1"
RULES = [Rule(users=("*",), repositories=("*",), allow=("pull", "push", "delete"))]
"""For every user of the file of passwords, and for no key."""


class Registry:
    """A registry with users and keys, and its clock."""

    def __init__(self, folder: Path, *, check_every_s: float = 3600.0, **settings: Any) -> None:
        self.clock = Clock()
        self.clock.now = NOW
        self.store = Store(folder / "data", lax_child_references=True)
        self.auth = Auth(
            RULES,
            htpasswd=htpasswd(folder),
            token_keys=KEYS,
            clock=self.clock,
            check_every_s=check_every_s,
            api_keys=self.store.api_keys,
            **settings,
        )
        self.app = Handler(self.store, auth=self.auth)

    async def key(self, name: str = "ci", **changes: Any) -> str:
        """Make a key, and return its secret."""
        secret = new_secret()
        made = ApiKey(name, hash_of(secret), ("team/*",), ("pull", "create"), created=int(NOW))
        assert await self.store.api_keys.create(replace(made, **changes), by="root")
        return secret

    async def get(self, path: str, headers: dict[str, str], method: str = "GET") -> Reply:
        return await request(self.app, method, path, headers=headers)

    async def token(self, user: str, secret: str, *scopes: str) -> Reply:
        query = "&".join(["service=ociserver", f"account={user}", *(f"scope={scope}" for scope in scopes)])
        return await self.get(f"/v2/token?{query}", basic(user, secret))

    def nowait(self, headers: dict[str, str], path: str = TAG) -> bool:
        """Whether a read is answered without the event loop, and with success."""
        statuses: list[Any] = []

        def send(message: Any) -> None:
            statuses.append(message.get("status"))

        scope = make_scope("GET", path, list(headers.items()))
        return self.app.answer_nowait(scope, send) and statuses[0] == 200  # type: ignore[arg-type]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    registry = Registry(tmp_path)
    async with registry.app as app:
        for name in ("team/app", "other/app"):
            assert (await put_blob(app, name, EMPTY, basic("alice"))).status == 201
            assert (await put_manifest(app, name, "v1", basic("alice"))).status == 201
        yield registry


# Rights


async def test_a_key_has_its_own_rights_and_no_others(registry: Registry) -> None:
    mine = basic("ci", await registry.key(tags=("v*",)))
    issued = await registry.token("ci", mine_of(mine), "repository:team/app:pull,push,delete", "repository:other/app:*")
    assert granted(issued) == {"team/app": ["pull", "push"]}
    for headers in (mine, bearer(issued.json()["token"])):
        assert (await registry.get(TAG, headers)).status == 200
        assert (await put_manifest(registry.app, "team/app", "v2", headers)).status == 201
        # `create` moves no tag, and the key has only the tags v*.
        assert (await put_manifest(registry.app, "team/app", "v1", headers, "moved")).status == 403
        assert (await put_manifest(registry.app, "team/app", "latest", headers)).status == 403
        assert (await registry.get(TAG, headers, "DELETE")).status == 403
        assert (await registry.get("/v2/team/app/tags/list", headers)).json()["tags"] == ["v1", "v2"]
    # The rule for all users is not for keys.
    assert (await registry.get("/v2/other/app/manifests/v1", mine)).status == 403
    assert (await registry.get("/v2/_catalog", mine)).json()["repositories"] == ["team/app"]


async def test_a_mount_with_a_token_of_a_key(registry: Registry) -> None:
    secret = await registry.key()
    push = "repository:team/new:pull,push"
    narrow = bearer((await registry.token("ci", secret, push)).json()["token"])
    wide = bearer((await registry.token("ci", secret, push, "repository:team/app:pull")).json()["token"])
    target = f"/v2/team/new/blobs/uploads/?mount={digest_of(EMPTY)}&from="
    # The rule lets all users pull from other/app, but it is not for keys.
    for source, headers, status in (
        ("other/app", narrow, 202),
        ("other/app", basic("ci", secret), 202),
        ("team/app", narrow, 401),
        ("team/app", wide, 201),
        ("team/app", basic("ci", secret), 201),
    ):
        reply = await registry.get(target + source, headers, "POST")
        assert reply.status == status, (source, headers)
        if status == 401:
            assert f'scope="repository:team/app:pull {push}",error="insufficient_scope"' in reply["www-authenticate"]


def mine_of(headers: dict[str, str]) -> str:
    return base64.b64decode(headers["Authorization"].removeprefix("Basic ")).decode().partition(":")[2]


def granted(reply: Reply) -> dict[str, list[str]]:
    payload = reply.json()["token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return {entry["name"]: entry["actions"] for entry in claims["access"]}


async def test_a_key_and_a_user_of_the_same_name_are_two(registry: Registry) -> None:
    secret = await registry.key("bob")
    mine = basic("bob", secret)
    assert (await registry.get(TAG, mine, "DELETE")).status == 403
    begun = await request(registry.app, "POST", "/v2/team/app/blobs/uploads/", headers=mine)
    assert begun.status == 202
    # Another user cannot continue its upload.
    assert (await registry.get(begun["location"], mine)).status == 204
    assert (await registry.get(begun["location"], basic("bob"))).status == 404
    assert (await registry.get(TAG, basic("bob"), "DELETE")).status == 202


# Sign-in


async def test_only_the_right_name_with_the_right_secret(registry: Registry) -> None:
    secret, other = await registry.key(), await registry.key("other")
    assert (await registry.get("/v2/", basic("ci", secret))).status == 200
    wrong = [
        ("ci", other),
        ("other", secret),
        ("nobody", secret),
        ("alice", secret),
        ("ci", new_secret()),
        ("ci", secret[:-1] + ("0" if secret[-1] != "0" else "1")),
        ("ci", secret + "0"),
        ("ci", secret.lower()),
        ("ci", hash_of(secret)),
        ("ci", ""),
        ("api-key:ci", secret),
        ("CI", secret),
        ("ci'--", secret),
        ("c%", secret),
        ("../ci", secret),
        ("ci\0", secret),
        ("é" * 300, secret),
    ]
    replies = set()
    for user, password in wrong:
        reply = await registry.get("/v2/", basic(user, password))
        replies.add((reply.status, reply.code, bytes(reply.body)))
    assert len(replies) == 1, "as a wrong password"
    assert replies.pop()[:2] == (401, "UNAUTHORIZED")


async def test_the_account_at_the_token_endpoint(registry: Registry) -> None:
    secret = await registry.key()
    assert (await registry.token("ci", secret)).status == 200
    reply = await registry.get("/v2/token?account=alice", basic("ci", secret))
    assert reply.status == 401
    form = f"grant_type=password&username=ci&password={secret}&service=ociserver".encode()
    assert (await request(registry.app, "POST", "/v2/token", form)).status == 200


async def test_without_keys_they_are_passwords_like_any_other(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    async with registry.app:
        secret = await registry.key()
        issued = (await registry.token("ci", secret)).json()["token"]
        without = Handler(registry.store, auth=Auth(RULES, htpasswd=htpasswd(tmp_path), token_keys=KEYS))
        assert (await request(without, "GET", "/v2/", headers=basic("ci", secret))).status == 401
        assert (await request(without, "GET", "/v2/", headers=bearer(issued))).status == 401
        htpasswd(tmp_path, {"robot": secret})
        again = Handler(registry.store, auth=Auth(RULES, htpasswd=tmp_path / "users.htpasswd", token_keys=KEYS))
        assert (await request(again, "GET", "/v2/", headers=basic("robot", secret))).status == 200


async def test_a_token_before_anything_has_opened_the_store(tmp_path: Path) -> None:
    """As in a mount that runs no lifespan."""
    registry = Registry(tmp_path)
    async with registry.store:
        secret = await registry.key()
    try:
        assert (await registry.token("ci", secret)).status == 200
    finally:
        await registry.app.aclose()


def test_a_provider_with_the_name_of_the_keys(tmp_path: Path) -> None:
    provider = OidcProvider("api-key", issuer="a", audience="b", keys=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="users of API keys begin"):
        Registry(tmp_path, oidc=[provider])


# The end of a key


async def test_a_revoked_key_and_its_tokens_end_at_once(registry: Registry) -> None:
    secret = await registry.key()
    ways = [
        basic("ci", secret),
        bearer((await registry.token("ci", secret, "repository:team/app:pull")).json()["token"]),
    ]
    for headers in ways:
        assert (await registry.get(TAG, headers)).status == 200
        assert await asyncio.to_thread(registry.nowait, headers)
    # Another process revokes it.
    async with Store(registry.store.path) as other:
        assert await other.api_keys.revoke("ci")
        assert not await other.api_keys.revoke("ci")
    for headers in ways:
        assert not await asyncio.to_thread(registry.nowait, headers)
        reply = await registry.get(TAG, headers)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
    # Another key with its name is another key, whose tokens are no tokens of the first.
    assert (await registry.get(TAG, basic("ci", await registry.key()))).status == 200
    for headers in ways:
        assert (await registry.get(TAG, headers)).status == 401


async def test_a_token_is_bound_to_the_rights_of_the_key(registry: Registry) -> None:
    secret = await registry.key()
    issued = bearer((await registry.token("ci", secret, "repository:team/app:pull")).json()["token"])
    assert (await registry.get(TAG, issued)).status == 200
    assert await registry.store.api_keys.revoke("ci")
    made = ApiKey("ci", hash_of(secret), ("other/*",), ("pull",))
    assert await registry.store.api_keys.create(made)
    assert (await registry.get(TAG, issued)).status == 401
    assert (await registry.get(TAG, basic("ci", secret))).status == 403


async def test_an_expired_key_and_its_tokens(registry: Registry) -> None:
    secret = await registry.key(expires=int(NOW) + 100)
    reply = await registry.token("ci", secret, "repository:team/app:pull")
    assert reply.json()["expires_in"] == 100, "a token ends with its key"
    ways = [basic("ci", secret), bearer(reply.json()["token"])]
    registry.clock.now += 99
    for headers in ways:
        assert (await registry.get(TAG, headers)).status == 200
        assert await asyncio.to_thread(registry.nowait, headers)
    registry.clock.now += 1
    for headers in ways:
        assert not await asyncio.to_thread(registry.nowait, headers)
        assert (await registry.get(TAG, headers)).status == 401


# Without the event loop


async def test_reads_need_neither_event_loop_nor_database(registry: Registry) -> None:
    secret = await registry.key()
    token = (await registry.token("ci", secret, "repository:team/app:pull")).json()["token"]
    statements: list[str] = []
    read = registry.store.database.read_nowait

    def counted(statement: str, parameters: tuple[Any, ...]) -> Any:
        statements.append(statement)
        return read(statement, parameters)

    registry.store.database.read_nowait = counted  # type: ignore[method-assign]
    assert (await registry.get(TAG, bearer(token))).status == 200
    for _ in range(3):
        assert await asyncio.to_thread(registry.nowait, bearer(token))
    before = len(statements)
    assert await asyncio.to_thread(registry.nowait, bearer(token))
    assert len(statements) == before
    # A commit of anything: the key is read once, without the event loop.
    assert (await put_manifest(registry.app, "team/app", "v3", basic("alice"))).status == 201
    assert await asyncio.to_thread(registry.nowait, bearer(token))
    assert sum("api_keys" in each for each in statements[before:]) == 1
    # What the token does not allow is not answered there.
    assert not await asyncio.to_thread(registry.nowait, bearer(token), "/v2/other/app/manifests/v1")


# What is recorded


async def test_the_last_use_is_recorded_to_the_minute(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    writes: list[dict[str, int]] = []
    async with registry.store as store:
        record = store.api_keys.record_use

        async def recording(used: dict[str, int]) -> None:
            writes.append(used)
            await record(used)

        store.api_keys.record_use = recording  # type: ignore[method-assign, assignment]
        accounts = KeyAccounts(store.api_keys, registry.clock, write_after_s=0.05)
        secrets = {name: await registry.key(name) for name in ("a", "b", "c")}
        for _ in range(100):
            for name in ("a", "b"):
                identity = await accounts.sign_in(name, secrets[name])
                assert identity is not None
                assert await accounts.is_current(identity)
        assert not writes, "later, and not by the request"
        await asyncio.sleep(0.2)
        assert identity is not None
        minute = int(NOW) // 60 * 60
        assert writes == [{"a": minute, "b": minute}], "both together"
        registry.clock.now = minute + 60
        assert not accounts.is_current_nowait(identity), "the event loop has to record it"
        assert await accounts.is_current(identity)
        assert accounts.is_current_nowait(identity)
        await accounts.aclose()
        assert {key.name: key.used for key in await store.api_keys.all()} == {
            "a": minute,
            "b": minute + 60,
            "c": None,
        }
        # Another process has recorded this minute.
        other = KeyAccounts(store.api_keys, registry.clock, write_after_s=0.0)
        await other.sign_in("b", secrets["b"])
        await other.aclose()
        assert len(writes) == 2


async def test_a_store_that_is_closed_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry(tmp_path)
    async with registry.store as store:
        accounts = KeyAccounts(store.api_keys, registry.clock)
        await accounts.sign_in("ci", await registry.key())
    await accounts.aclose()
    assert "the last use of API keys was not recorded" in caplog.text


async def test_the_audit_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry(tmp_path, check_every_s=0.0)
    with caplog.at_level(logging.DEBUG):
        async with registry.app as app:
            assert (await put_manifest(app, "team/app", "v1", basic("alice"))).status == 201
            secret = await registry.key(expires=int(NOW) + 1000)
            mine = basic("ci", secret)
            reply = await registry.token("ci", secret, "repository:team/app:pull")
            await put_manifest(registry.app, "team/app", "v9", mine)
            await registry.get(TAG, mine, "DELETE")
            await registry.store.api_keys.revoke("ci", by="carol")
            await registry.get(TAG, mine)
            await registry.get(TAG, bearer(reply.json()["token"]))
            await asyncio.sleep(0.1)
    entries = [record.__dict__["fields"] for record in caplog.records if record.name == "ociserver.audit"]
    told = [(each["event"], each.get("user") or each.get("key"), each.get("via") or each.get("by")) for each in entries]
    mine_is = ("api-key:ci", "api-key")
    assert sorted({each for each in told if each[1] != "alice"}, key=str) == sorted(
        {
            ("key-created", "ci", "root"),
            ("key-revoked", "ci", "carol"),
            ("sign-in", *mine_is),
            ("token", *mine_is),
            ("push", *mine_is),
            ("denied", *mine_is),
            ("sign-in-refused", "ci", "api-key"),
            ("token-refused", None, None),
        },
        key=str,
    )
    (created,) = (each for each in entries if each["event"] == "key-created")
    assert created == {
        "event": "key-created",
        "key": "ci",
        "by": "root",
        "at": int(NOW),
        "repositories": ["team/*"],
        "allow": ["pull", "create"],
        "expires": int(NOW) + 1000,
    }
    assert secret not in caplog.text
    assert hash_of(secret) not in caplog.text


# Secrets


def test_secrets() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    for secret in made:
        assert re.fullmatch(rf"{SECRET_PREFIX}[0-9A-Za-z]{{49}}", secret)
        assert is_secret(secret)
        for at in (len(SECRET_PREFIX), 30, -1):
            other = secret[:at] + ("x" if secret[at] != "x" else "y") + secret[at:][1:]
            assert not is_secret(other), "a mistyped secret is none"
    key = ApiKey("ci", hash_of(secret), ("a",), ("pull",))
    assert hash_of(secret) not in repr(key)
