"""AccessChecker: the checks before each call, and the effect of a refusal (Go: `ocifilter.AccessChecker`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ociserver import UNKNOWN_SIZE, Backend, Descriptor, Handler, Memory, OCIError, request_context
from ociserver.compose import Access, AccessChecker
from tests.contract.contents import (
    BINARY,
    collect,
    digest_of,
    pieces_of,
    push_blob,
    push_image,
    push_manifest,
    tags_of,
)
from tests.contract.errors import refused
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

ONE, TWO = "one", "two"
CONFIG = digest_of(b"{}")

CALLS: dict[str, tuple[Callable[[Backend, str], Awaitable[Any]], list[tuple[str, Access]]]] = {
    "get_blob": (lambda backend, digest: backend.get_blob(ONE, CONFIG), [(ONE, "read")]),
    "get_manifest": (lambda backend, digest: backend.get_manifest(ONE, digest), [(ONE, "read")]),
    "get_tag": (lambda backend, digest: backend.get_tag(ONE, "latest"), [(ONE, "read")]),
    "resolve_blob": (lambda backend, digest: backend.resolve_blob(ONE, CONFIG), [(ONE, "read")]),
    "resolve_manifest": (lambda backend, digest: backend.resolve_manifest(ONE, digest), [(ONE, "read")]),
    "resolve_tag": (lambda backend, digest: backend.resolve_tag(ONE, "latest"), [(ONE, "read")]),
    "push_blob": (
        lambda backend, digest: backend.push_blob(
            ONE, Descriptor(BINARY, digest_of(b"x"), UNKNOWN_SIZE), pieces_of(b"x")
        ),
        [(ONE, "write")],
    ),
    "push_blob_chunked": (lambda backend, digest: backend.push_blob_chunked(ONE), [(ONE, "write")]),
    "push_manifest": (
        lambda backend, digest: push_manifest(backend, b"x", "text/plain", "new", repository=ONE),
        [(ONE, "write")],
    ),
    "mount_blob": (lambda backend, digest: backend.mount_blob(ONE, TWO, CONFIG), [(ONE, "read"), (TWO, "write")]),
    "delete_blob": (lambda backend, digest: backend.delete_blob(ONE, CONFIG), [(ONE, "delete")]),
    "delete_manifest": (lambda backend, digest: backend.delete_manifest(ONE, digest), [(ONE, "delete")]),
    "delete_tag": (lambda backend, digest: backend.delete_tag(ONE, "latest"), [(ONE, "delete")]),
    "tags": (lambda backend, digest: tags_of(backend, ONE), [(ONE, "list")]),
    "referrers": (lambda backend, digest: collect(backend.referrers(ONE, digest)), [(ONE, "list")]),
    "repositories": (
        lambda backend, digest: collect(backend.repositories()),
        [("*", "list"), (ONE, "read"), (TWO, "read")],
    ),
}


async def filled() -> tuple[Memory, str]:
    inner = Memory()
    content = await push_image(inner, "latest", repository=ONE)
    await push_blob(inner, b"other", TWO)
    return inner, digest_of(content)


@pytest.mark.parametrize("method", CALLS)
async def test_the_checks_of_each_method(method: str) -> None:
    inner, digest = await filled()
    asked: list[tuple[str, Access]] = []
    call, expected = CALLS[method]
    await call(AccessChecker(inner, lambda repository, access: asked.append((repository, access))), digest)
    assert asked == expected


async def test_continuing_an_upload_is_a_write() -> None:
    inner, _ = await filled()
    writer = await inner.push_blob_chunked(ONE)
    await writer.aclose()
    asked: list[tuple[str, Access]] = []
    backend = AccessChecker(inner, lambda repository, access: asked.append((repository, access)))
    await backend.push_blob_chunked_resume(ONE, writer.id, offset=None)
    assert asked == [(ONE, "write")]


@pytest.mark.parametrize("method", [name for name in CALLS if name != "repositories"])
async def test_a_refusal_is_raised_unchanged_and_has_no_effect(method: str) -> None:
    inner, digest = await filled()
    before = inner.size_bytes
    refusal = OCIError("UNAUTHORIZED", "who are you?")
    call, expected = CALLS[method]
    for refused_at in expected:

        async def check(repository: str, access: Access, refused_at: tuple[str, Access] = refused_at) -> None:
            if (repository, access) == refused_at:
                raise refusal

        with pytest.raises(OCIError) as caught:
            await call(AccessChecker(inner, check), digest)
        assert caught.value is refusal
    assert (inner.size_bytes, await tags_of(inner, ONE)) == (before, ["latest"])
    assert (await inner.resolve_blob(ONE, CONFIG)).digest == CONFIG
    with refused("BLOB_UNKNOWN"):
        await inner.resolve_blob(TWO, CONFIG)


@pytest.mark.parametrize("method", CALLS)
async def test_false_is_denied(method: str) -> None:
    inner, digest = await filled()
    with refused("DENIED"):
        await CALLS[method][0](AccessChecker(inner, lambda repository, access: False), digest)


async def test_the_catalog_leaves_out_unreadable_repositories() -> None:
    inner, _ = await filled()
    backend = AccessChecker(inner, lambda repository, access: repository != ONE)
    assert await collect(backend.repositories()) == [TWO]


async def test_a_check_that_fails_does_not_hide_a_repository() -> None:
    """A part of the list that looks complete would be worse than an error."""
    inner, _ = await filled()

    def check(repository: str, access: Access) -> None:
        if repository == TWO:
            raise ConnectionError("the directory of users is down")

    names = AccessChecker(inner, check).repositories()
    assert await anext(names) == ONE
    with pytest.raises(ConnectionError):
        await anext(names)


async def test_a_check_knows_the_user() -> None:
    inner, _ = await filled()

    async def check(repository: str, access: Access) -> None:
        context = request_context.get()
        if context is None or context.user != "alice":
            raise OCIError("UNAUTHORIZED", headers={"WWW-Authenticate": 'Basic realm="here"'})

    application = Handler(AccessChecker(inner, check))
    assert (await request(application, "GET", f"/v2/{ONE}/tags/list", user="alice")).status == 200
    reply = await request(application, "GET", f"/v2/{ONE}/tags/list", user="bob")
    assert (reply.status, reply["www-authenticate"]) == (401, 'Basic realm="here"')
