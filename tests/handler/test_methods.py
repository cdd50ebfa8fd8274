"""A method that an endpoint does not have is 405, with those that it has in Allow (RFC 9110, 15.5.6)."""

from __future__ import annotations

import pytest

from tests.handler.driver import request
from tests.handler.registry import BLOB, MANIFEST, REFERRERS, TAG, TAGS, UPLOADS, handler

pytestmark = pytest.mark.anyio

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", ""]

ENDPOINTS = {
    BLOB: {"GET", "HEAD", "DELETE"},
    UPLOADS: {"POST"},
    UPLOADS.rstrip("/"): {"POST"},
    UPLOADS + "YWJj": {"GET", "PATCH", "PUT", "DELETE"},
    MANIFEST: {"GET", "HEAD", "PUT", "DELETE"},
    TAG: {"GET", "HEAD", "PUT", "DELETE"},
    TAGS: {"GET"},
    REFERRERS: {"GET"},
    "/v2/_catalog": {"GET"},
}


@pytest.mark.parametrize("path, allowed", ENDPOINTS.items())
@pytest.mark.parametrize("method", METHODS)
async def test_a_method(method: str, path: str, allowed: set[str]) -> None:
    reply = await request(await handler(), method, path)
    if method in allowed:
        assert reply.status != 405
        return
    assert reply.status == 405
    assert {name.strip() for name in reply["allow"].split(",")} == allowed
    if method != "HEAD":
        assert (reply.code, reply.message) == ("UNKNOWN", "method not allowed")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/v2", "/v2/"])
async def test_ping_has_every_method(method: str, path: str) -> None:
    reply = await request(await handler(), method, path)
    assert (reply.status, reply.body) == (200, b"")
    assert reply["docker-distribution-api-version"] == "registry/2.0"
