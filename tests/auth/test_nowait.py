"""Reads that are answered without the event loop: what is remembered of a client is never too much."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from ociserver import Handler, Memory, OCIError
from ociserver.auth import Auth, Identity, Rule
from ociserver.handler.app import Handler as Application
from tests.auth.clocks import Clock
from tests.auth.registry import (
    EMPTY,
    KEYS,
    basic,
    bearer,
    handler,
    put_blob,
    put_manifest,
    token,
)
from tests.handler.driver import Exchange, body_messages, make_scope, request

pytestmark = pytest.mark.anyio

APP, NEIGHBOUR = "/v2/team/app/manifests/v1", "/v2/team/apps/manifests/v1"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[Handler]:
    async with handler(tmp_path) as app:
        for name in ("team/app", "team/apps", "public/app", "public/other"):
            assert (await put_blob(app, name, EMPTY, basic("alice"))).status == 201
        for name in ("team/app", "team/apps"):
            assert (await put_manifest(app, name, "v1", basic("alice"))).status == 201
        yield app


def is_answered_nowait(app: Application, path: str, *headers: tuple[str, str]) -> bool:
    return app.answer_nowait(make_scope("GET", path, headers), lambda message: None)  # type: ignore[arg-type, return-value]


async def test_a_known_token_stays_narrow(app: Handler) -> None:
    """The rules allow bob to read both repositories, and the token only one (CVE-2019-12825)."""
    narrow = bearer(await token(app, "bob", "repository:team/app:pull"))
    (header,) = narrow.items()
    for _ in range(3):
        assert (await request(app, "GET", APP, headers=narrow)).status == 200
        assert (await request(app, "GET", NEIGHBOUR, headers=narrow)).status == 401
    assert is_answered_nowait(app, APP, header)
    assert not is_answered_nowait(app, NEIGHBOUR, header)
    assert not is_answered_nowait(app, APP)


async def test_an_anonymous_token_is_narrow(app: Handler) -> None:
    narrow = bearer(await token(app, "", "repository:public/app:pull"))
    for _ in range(3):
        assert (await request(app, "GET", "/v2/public/app/tags/list", headers=narrow)).status == 200
        assert (await request(app, "GET", "/v2/public/other/tags/list", headers=narrow)).status == 401
        assert (await request(app, "GET", "/v2/_catalog", headers=narrow)).status == 401


async def test_a_known_token_that_is_sent_twice_is_refused(app: Handler) -> None:
    (header,) = bearer(await token(app, "bob", "repository:team/app:pull")).items()
    for _ in range(2):
        assert (await request(app, "GET", APP, headers=dict([header]))).status == 200
    assert is_answered_nowait(app, APP, header)
    assert not is_answered_nowait(app, APP, header, header)
    exchange = Exchange(body_messages([]))
    await app(make_scope("GET", APP, [header, header]), exchange.receive, exchange.send)
    assert (exchange.reply.status, exchange.reply.code) == (400, "UNAUTHORIZED")


async def test_a_known_token_expires(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = 1_800_000_000.0
    async with handler(tmp_path, clock=clock) as app:
        assert (await put_blob(app, "team/app", EMPTY, basic("alice"))).status == 201
        assert (await put_manifest(app, "team/app", "v1", basic("alice"))).status == 201
        mine = bearer(await token(app, "bob", "repository:team/app:pull"))
        for path in (APP, "/v2/team/app/tags/list"):
            for _ in range(2):
                assert (await request(app, "GET", path, headers=mine)).status == 200
        clock.now += 300
        for path in (APP, "/v2/team/app/tags/list"):
            for _ in range(2):
                reply = await request(app, "GET", path, headers=mine)
                assert reply.status == 401
                assert 'error="invalid_token"' in reply["www-authenticate"]


async def test_what_is_denied_is_not_remembered(tmp_path: Path) -> None:
    """Otherwise a client without an account could fill the memory."""
    app = handler(tmp_path)
    assert isinstance(app.site.auth, Auth)
    anonymous = bearer(await token(app, ""))
    for number in range(50):
        assert (await request(app, "GET", f"/v2/team/{number}/tags/list", headers=anonymous)).status == 401
        assert app.site.auth.admit_nowait(anonymous["Authorization"].encode(), f"team/{number}") is None
    known = app.site.auth._authenticator.identify_nowait(anonymous["Authorization"].encode())
    assert known is not None
    assert not known.pulls


async def test_an_authenticator_is_asked_about_every_read() -> None:
    """It may refuse what is public, and credentials that have expired."""

    async def authenticate(headers: Mapping[str, str]) -> Identity | None:
        match headers.get("x-state"):
            case "blocked":
                raise OCIError("DENIED")
            case "expired":
                return Identity("robot", via="x", expires=1.0)
        return None

    rules = [Rule(anonymous=True, repositories=("*",), allow=("pull", "push"))]
    async with Handler(
        Memory(lax_child_references=True), auth=Auth(rules, authenticate=authenticate, token_keys=KEYS)
    ) as app:
        assert (await put_manifest(app, "app", "v1", {})).status == 201
        for _ in range(2):
            assert (await request(app, "GET", "/v2/app/manifests/v1")).status == 200
            assert (await request(app, "GET", "/v2/app/manifests/v1", headers={"X-State": "blocked"})).status == 403
            assert (await request(app, "GET", "/v2/app/manifests/v1", headers={"X-State": "expired"})).status == 401
            assert (await request(app, "GET", "/v2/token", headers={"X-State": "expired"})).status == 401
