"""ETag, If-None-Match and If-Range: a digest is the strongest validator there is (RFC 9110, 8.8 and 13)."""

from __future__ import annotations

import pytest

from tests.contract.contents import digest_of
from tests.handler.driver import request
from tests.handler.registry import BLOB, DIGEST, MANIFEST, TAG, TEXT, handler

pytestmark = pytest.mark.anyio

ETAGS = {BLOB: f'"{digest_of(TEXT)}"', MANIFEST: f'"{DIGEST}"', TAG: f'"{DIGEST}"'}
EVERYTHING = pytest.mark.parametrize("path", ETAGS, ids=["blob", "manifest", "tag"])
METHODS = pytest.mark.parametrize("method", ["GET", "HEAD"])


@EVERYTHING
@METHODS
async def test_the_etag_is_the_digest(method: str, path: str) -> None:
    reply = await request(await handler(), method, path)
    assert (reply.status, reply["etag"]) == (200, ETAGS[path])


@pytest.mark.parametrize(
    "condition",
    ["{}", "W/{}", "*", '"other", {}', '{},"other"', '"a" ,  W/{} , "b"', '"", {}', "{} ", '"with, comma", {}'],
)
@EVERYTHING
@METHODS
async def test_what_is_known_is_not_sent_again(method: str, path: str, condition: str) -> None:
    reply = await request(await handler(), method, path, headers={"if-none-match": condition.format(ETAGS[path])})
    assert (reply.status, reply.body) == (304, b"")
    # RFC 9110, 15.4.5: the ETag that a 200 would have had, and no need for the rest.
    assert reply["etag"] == ETAGS[path]
    assert reply["docker-content-digest"] == ETAGS[path].strip('"')
    assert not reply.all("content-type")


@pytest.mark.parametrize("condition", ['"other"', "{}x", "x{}", "", ",", "W/", '"', "w/{}", "latest"])
@EVERYTHING
@METHODS
async def test_another_etag_is_no_match(method: str, path: str, condition: str) -> None:
    etag = ETAGS[path]
    value = condition.format(etag) if condition not in ("{}x", "x{}") else condition.format(etag[:-1]) + '"'
    reply = await request(await handler(), method, path, headers={"if-none-match": value})
    assert reply.status == 200


@METHODS
async def test_an_etag_of_what_is_not_there(method: str) -> None:
    path = BLOB[:-4] + "0000"
    for condition in ("*", f'"{path.rpartition("/")[2]}"'):
        reply = await request(await handler(), method, path, headers={"if-none-match": condition})
        assert reply.status == 404


async def test_if_none_match_comes_before_range() -> None:
    # RFC 9110, 13.2.2.
    reply = await request(await handler(), "GET", BLOB, headers={"if-none-match": ETAGS[BLOB], "range": "bytes=0-1"})
    assert reply.status == 304


@pytest.mark.parametrize(
    "condition, status",
    [
        (ETAGS[BLOB], 206),
        (f" {ETAGS[BLOB]} ", 206),
        # RFC 9110, 13.1.5: a strong comparison; a weak tag, another one, and a date do not match: the whole.
        (f"W/{ETAGS[BLOB]}", 200),
        ('"other"', 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
        ("", 200),
        ("*", 200),
    ],
)
async def test_if_range(condition: str, status: int) -> None:
    reply = await request(await handler(), "GET", BLOB, headers={"range": "bytes=2-4", "if-range": condition})
    assert (reply.status, reply.body) == (status, b"234" if status == 206 else TEXT)


async def test_if_range_that_does_not_match_forgives_any_range() -> None:
    reply = await request(await handler(), "GET", BLOB, headers={"range": "bytes=99-", "if-range": '"other"'})
    assert (reply.status, reply.body) == (200, TEXT)


async def test_conditions_do_not_hide_the_redirect() -> None:
    application = await handler(locations_for_descriptor=lambda is_manifest, descriptor: ["https://elsewhere/"])
    reply = await request(application, "GET", BLOB, headers={"range": "bytes=0-1"})
    assert (reply.status, reply["location"]) == (307, "https://elsewhere/")
