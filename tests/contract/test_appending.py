"""Uploads without a Content-Range: each body is appended, over every backend."""

from __future__ import annotations

import pytest

from ociserver import Backend, Handler
from tests.contract.contents import REPOSITORY, digest_of, read_blob
from tests.handler.driver import request
from tests.handler.registry import UPLOADS
from tests.support.opened import Opened

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def application(writable: Backend) -> Handler:
    return Handler(Opened(writable))


@pytest.mark.parametrize("cuts", [(0,), (5, 9), (0, 0, 700_000), (700_000, 900_000), (len(CONTENT),)], ids=str)
async def test_bodies_are_appended(application: Handler, cuts: tuple[int, ...]) -> None:
    """Some bodies by PATCH, the last by the closing PUT: small, large and empty ones."""
    location = (await request(application, "POST", UPLOADS))["location"]
    start = 0
    for cut in cuts:
        reply = await request(application, "PATCH", location, CONTENT[start:cut])
        assert (reply.status, reply["upload-offset"]) == (202, str(cut))
        location, start = reply["location"], cut
        reply = await request(application, "GET", location)
        assert (reply.status, reply["upload-offset"]) == (204, str(cut))
    reply = await request(application, "PUT", f"{location}?digest={digest_of(CONTENT)}", CONTENT[start:])
    assert reply.status == 201
    assert await read_blob(application.backend, digest_of(CONTENT)) == CONTENT


@pytest.mark.parametrize("start, status", [(0, 416), (3, 416), (4, 202), (5, 416)])
async def test_a_range_is_held_to_where_the_upload_is(application: Handler, start: int, status: int) -> None:
    location = (await request(application, "POST", UPLOADS))["location"]
    location = (await request(application, "PATCH", location, b"abcd"))["location"]
    reply = await request(application, "PATCH", location, b"ef", {"content-range": f"{start}-{start + 1}"})
    assert reply.status == status
    whole = b"abcdef" if status == 202 else b"abcd"
    location = reply["location"] if status == 202 else location
    reply = await request(application, "GET", location)
    assert (reply.status, reply["upload-offset"]) == (204, str(len(whole)))
    reply = await request(application, "PUT", f"{location}?digest={digest_of(whole + b'!')}", b"!")
    assert reply.status == 201
    assert await read_blob(application.backend, digest_of(whole + b"!"), repository=REPOSITORY) == whole + b"!"
