"""HEAD tells what GET would, without the body (RFC 9110, 9.3.2)."""

from __future__ import annotations

import pytest

from tests.contract.contents import REPOSITORY, digest_of
from tests.handler.driver import request
from tests.handler.registry import BLOB, MANIFEST, REFERRERS, TAG, TAGS, handler

pytestmark = pytest.mark.anyio

UNKNOWN = digest_of(b"unknown")


@pytest.mark.parametrize(
    "path",
    [
        BLOB,
        MANIFEST,
        TAG,
        "/v2/",
        f"/v2/{REPOSITORY}/blobs/{UNKNOWN}",
        f"/v2/{REPOSITORY}/manifests/{UNKNOWN}",
        f"/v2/{REPOSITORY}/manifests/unknown",
        f"/v2/no/such/blobs/{UNKNOWN}",
        f"/v2/no/such/manifests/{UNKNOWN}",
        f"/v2/{REPOSITORY}/blobs/sha256:short",
        f"/v2/NO/manifests/{UNKNOWN}",
        "/v2/nothing",
        "/elsewhere",
        "/v2/?%zz",
    ],
)
async def test_head_is_get_without_a_body(path: str) -> None:
    application = await handler()
    get, head = await request(application, "GET", path), await request(application, "HEAD", path)
    assert head.body == b""
    assert head.status == get.status
    assert sorted(head.headers) == sorted(get.headers)


@pytest.mark.parametrize("path", [TAGS, "/v2/_catalog", REFERRERS])
async def test_lists_have_no_head(path: str) -> None:
    reply = await request(await handler(), "HEAD", path)
    assert (reply.status, reply.body, reply["allow"]) == (405, b"", "GET")


async def test_a_tag_tells_its_digest_whatever_get_leaves_out() -> None:
    application = await handler(omit_digest_from_tag_get_response=True)
    assert (await request(application, "HEAD", TAG))["docker-content-digest"]
