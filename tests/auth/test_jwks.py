"""Where the keys of other issuers come from: how often they are fetched, and what is kept when that fails."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ociserver.auth.fetching import Fetch, check_url
from ociserver.auth.jwks import FETCH_EVERY_S, REFRESH_S, RETRY_S, DiscoveredJwks, JwksFile, JwksUrl
from ociserver.errors import OCIError
from tests.auth.clocks import Clock
from tests.auth.provider import DISCOVERY, JWKS, Provider, new_key, public_jwk, running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running() as provider:
        yield provider


@pytest.fixture
def clock() -> Clock:
    return Clock()


def source(provider: Provider, clock: Clock, **options: Any) -> JwksUrl:
    return JwksUrl(provider.issuer + JWKS, Fetch(**options), clock=clock)


async def refused(keys: JwksUrl) -> OCIError:
    with pytest.raises(OCIError) as caught:
        await keys.keys()
    return caught.value


async def test_many_wait_for_one_fetch(provider: Provider, clock: Clock) -> None:
    keys = source(provider, clock)
    found = await asyncio.gather(*(keys.keys() for _ in range(100)))
    assert all(each.find("one") for each in found)
    assert provider.count() == 1


async def test_who_comes_later_waits_too(provider: Provider, clock: Clock) -> None:
    keys = source(provider, clock)
    provider.opened.clear()
    first = asyncio.ensure_future(keys.keys())
    await provider.arrived.wait()
    others = [asyncio.ensure_future(each) for each in (keys.keys(), keys.looked_again())]
    await asyncio.sleep(0)
    provider.opened.set()
    assert all(each.find("one") for each in await asyncio.gather(first, *others))
    assert provider.count() == 1


async def test_they_are_fetched_again_after_an_hour(provider: Provider, clock: Clock) -> None:
    keys = source(provider, clock)
    await keys.keys()
    provider.keys = {"two": new_key("P-256")}
    clock.now += REFRESH_S - 1
    assert (await keys.keys()).find("one")
    clock.now += 1
    # A key that the provider has removed is forgotten.
    assert (await keys.keys()).find("one") is None
    assert provider.count() == 2


async def test_an_unknown_key_causes_a_fetch_a_minute(provider: Provider, clock: Clock) -> None:
    keys = source(provider, clock)
    for _ in range(100):
        await keys.looked_again()
    clock.now += FETCH_EVERY_S - 1
    await keys.looked_again()
    assert provider.count() == 1
    provider.keys["two"] = new_key("Ed25519")
    clock.now += 1
    found = await asyncio.gather(*(keys.looked_again() for _ in range(100)))
    assert all(each.find("two") for each in found)
    assert provider.count() == 2


async def test_the_last_good_keys_are_kept_and_the_failure_is_logged_once(
    provider: Provider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    keys = source(provider, clock)
    await keys.keys()
    provider.fails()
    with caplog.at_level(logging.INFO, "ociserver"):
        for _ in range(3):
            clock.now += REFRESH_S
            assert (await keys.keys()).find("one")
            assert (await keys.keys()).find("one")
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "status 500" in caplog.text
        assert "the keys stay as they were" in caplog.text
        provider.heals()
        clock.now += FETCH_EVERY_S
        await keys.keys()
        assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    # One for each hour while it was down, although every request would have liked to have them.
    assert provider.count() == 5


async def test_without_keys_there_is_no_answer_but_to_come_again(provider: Provider, clock: Clock) -> None:
    provider.fails()
    keys = source(provider, clock)
    error = await refused(keys)
    assert (error.status, error.headers["Retry-After"]) == (503, "10")
    assert provider.issuer not in str(error)
    await refused(keys)
    assert provider.count() == 1
    provider.heals()
    clock.now += RETRY_S
    assert (await keys.keys()).find("one")


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404},
        {"status": 200, "body": b"{"},
        {"status": 200, "body": b"[]"},
        {"status": 200, "body": b'{"keys": {}}'},
        {"status": 200, "body": b'{"keys": []}'},
        {"status": 200, "body": b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'},
        # Larger than allowed, although it would be right.
        {"status": 200, "body": b'{"keys": []}' + b" " * (256 * 1024)},
    ],
)
async def test_a_document_that_has_no_keys(provider: Provider, clock: Clock, answer: dict[str, Any]) -> None:
    keys = source(provider, clock)
    await keys.keys()
    provider.fails(**answer)
    clock.now += REFRESH_S
    assert (await keys.keys()).find("one")
    await refused(source(provider, clock))


async def test_an_answer_without_end_is_not_read_to_its_end(provider: Provider, clock: Clock) -> None:
    jwks = json.dumps({"keys": [public_jwk(new_key("RSA"), kid="one")]}).encode()
    provider.fails(status=200, body=jwks + b" " * 1000)
    assert (await source(provider, clock, max_bytes=len(jwks) + 1000).keys()).find("one")
    await refused(source(provider, clock, max_bytes=len(jwks) + 999))


async def test_a_provider_that_is_silent(clock: Clock) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error = await refused(JwksUrl(f"http://127.0.0.1:{port}/", Fetch(timeout_s=0.05), clock=clock))
    assert error.status == 503
    gone.set()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(provider: Provider, clock: Clock, status: int) -> None:
    async with running() as other:
        provider.fails(status=status, headers={"Location": other.issuer + JWKS})
        await refused(source(provider, clock))
        assert other.asked == []


async def test_nothing_listens_there(clock: Clock) -> None:
    assert (await refused(JwksUrl("http://127.0.0.1:1/", Fetch(), clock=clock))).status == 503


async def test_who_waits_may_go_away(provider: Provider, clock: Clock) -> None:
    keys = source(provider, clock)
    first = asyncio.ensure_future(keys.keys())
    second = asyncio.ensure_future(keys.keys())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).find("one")
    assert provider.count() == 1


# URLs


@pytest.mark.parametrize("url", ["https://a.example/x?y=1", "http://127.0.0.2:1/", "http://[::1]/", "http://localhost"])
def test_a_url_that_may_be_asked(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "http://localhost.a.example/",
        "http://10.0.0.1/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://user:S3cret@a.example/",
        "https://a.example/#S3cret",
        "https://a.example/ S3cret",
        "https://",
        "https://a.example:S3cret/",
        "S3cret",
        "",
    ],
)
def test_a_url_that_may_not_be_asked(url: str) -> None:
    with pytest.raises(ValueError, match="the URL") as caught:
        check_url(url)
    assert "S3cret" not in str(caught.value)


# Discovery


async def test_the_discovery_document_names_the_url_of_the_keys(provider: Provider, clock: Clock) -> None:
    keys = DiscoveredJwks(provider.issuer, Fetch(), clock=clock)
    assert (await keys.keys()).find("one")
    assert provider.asked == [DISCOVERY, JWKS]


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"issuer": "https://other.example"}, "of another issuer"),
        ({"issuer": None}, "of another issuer"),
        ({"jwks_uri": None}, "has no jwks_uri"),
        ({"jwks_uri": 5}, "has no jwks_uri"),
        # What is fetched without TLS cannot say where the keys are that need it, and the other way around.
        ({"jwks_uri": "https://127.0.0.1:1/"}, "another scheme"),
        ({"jwks_uri": "http://keys.example/"}, "does not begin with https://"),
        ({"jwks_uri": "file:///etc/passwd"}, "another scheme"),
    ],
)
async def test_a_discovery_document_that_is_wrong(
    provider: Provider, clock: Clock, caplog: pytest.LogCaptureFixture, changes: dict[str, Any], why: str
) -> None:
    document = {"issuer": provider.issuer, "jwks_uri": provider.issuer + JWKS} | changes
    provider.fails(DISCOVERY, 200, text=json.dumps(document))
    await refused(DiscoveredJwks(provider.issuer, Fetch(), clock=clock))
    assert provider.asked == [DISCOVERY]
    assert why in caplog.text


async def test_the_issuer_is_compared_as_it_is_written(provider: Provider, clock: Clock) -> None:
    # Discovery, 4.1: a slash at the end is removed before the path is added, and 4.3: the value is the same text.
    await refused(DiscoveredJwks(provider.issuer + "/", Fetch(), clock=clock))
    assert provider.asked == [DISCOVERY]


# Files


async def test_a_file_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [public_jwk(new_key("P-256"), kid="one")]}))
    keys = JwksFile(path, check_every_s=0)
    assert (await keys.keys()).find("one")
    path.write_text("{")
    for _ in range(3):
        assert (await keys.keys()).find("one")
    assert "the keys stay as they were" in caplog.text
    path.write_text(json.dumps({"keys": [public_jwk(new_key("P-256"), kid="two")]}))
    assert (await keys.keys()).find("two")
    assert (await keys.looked_again()).find("one") is None
    path.unlink()
    assert (await keys.keys()).find("two")


def test_a_file_that_is_wrong_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    with pytest.raises(OSError, match="jwks"):
        JwksFile(path)
    path.write_text("")
    with pytest.raises(ValueError, match="no public key"):
        JwksFile(path)
