"""Select: repositories that are not allowed look as if they did not exist (Go: `ocifilter.Select`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ociserver import UNKNOWN_SIZE, Backend, Descriptor, Handler, Memory
from ociserver.compose import Select
from tests.contract.contents import (
    BINARY,
    IMAGE,
    collect,
    descriptor,
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

HIDDEN, SHOWN = "secret/app", "public/app"


def select(inner: Backend) -> Select:
    return Select(inner, lambda repository: repository.startswith("public/"))


async def filled() -> tuple[Memory, Select, str]:
    """A registry with the same image in a hidden and in a visible repository, and the image's digest."""
    inner = Memory()
    for repository in (HIDDEN, SHOWN):
        content = await push_image(inner, "latest", repository=repository)
    await push_blob(inner, b"hidden bytes", HIDDEN)
    return inner, select(inner), digest_of(content)


READS: dict[str, Callable[[Backend, str, str], Awaitable[Any]]] = {
    "get_blob": lambda backend, name, digest: backend.get_blob(name, digest_of(b"{}")),
    "resolve_blob": lambda backend, name, digest: backend.resolve_blob(name, digest_of(b"{}")),
    "get_manifest": lambda backend, name, digest: backend.get_manifest(name, digest),
    "resolve_manifest": lambda backend, name, digest: backend.resolve_manifest(name, digest),
    "get_tag": lambda backend, name, digest: backend.get_tag(name, "latest"),
    "resolve_tag": lambda backend, name, digest: backend.resolve_tag(name, "latest"),
    "tags": lambda backend, name, digest: tags_of(backend, name),
    "referrers": lambda backend, name, digest: collect(backend.referrers(name, digest)),
    "delete_tag": lambda backend, name, digest: backend.delete_tag(name, "latest"),
    "delete_manifest": lambda backend, name, digest: backend.delete_manifest(name, digest),
    "delete_blob": lambda backend, name, digest: backend.delete_blob(name, digest_of(b"{}")),
}

WRITES: dict[str, Callable[[Backend, str], Awaitable[Any]]] = {
    "push_blob": lambda backend, name: backend.push_blob(
        name, Descriptor(BINARY, digest_of(b"x"), UNKNOWN_SIZE), pieces_of(b"x")
    ),
    "push_blob_chunked": lambda backend, name: backend.push_blob_chunked(name),
    "push_manifest": lambda backend, name: push_manifest(backend, b"x", "text/plain", "new", repository=name),
    "mount_blob": lambda backend, name: backend.mount_blob(SHOWN, name, digest_of(b"{}")),
}


@pytest.mark.parametrize("method", READS)
async def test_a_hidden_repository_is_unknown(method: str) -> None:
    inner, backend, digest = await filled()
    with refused("NAME_UNKNOWN"):
        await READS[method](backend, HIDDEN, digest)
    # The hidden repository is unchanged, and a visible one answers.
    assert (await inner.resolve_tag(HIDDEN, "latest")).digest == digest
    assert (await inner.resolve_blob(HIDDEN, digest_of(b"{}"))).size == 2
    await READS[method](backend, SHOWN, digest)


@pytest.mark.parametrize("method", READS)
async def test_it_answers_like_a_missing_repository(method: str) -> None:
    _, backend, digest = await filled()
    with refused("NAME_UNKNOWN") as hidden:
        await READS[method](backend, HIDDEN, digest)
    with refused("NAME_UNKNOWN") as missing:
        await READS[method](backend, "public/missing", digest)
    assert (str(hidden.value), hidden.value.detail) == (str(missing.value), missing.value.detail)


@pytest.mark.parametrize("method", WRITES)
async def test_writing_to_a_hidden_repository_is_denied(method: str) -> None:
    inner, backend, _ = await filled()
    for name in (HIDDEN, "secret/new"):
        with refused("DENIED"):
            await WRITES[method](backend, name)
    assert await collect(inner.repositories()) == [SHOWN, HIDDEN]
    await WRITES[method](backend, SHOWN)


async def test_an_upload_of_a_hidden_repository_cannot_be_continued() -> None:
    inner, backend, _ = await filled()
    writer = await inner.push_blob_chunked(HIDDEN)
    await writer.aclose()
    with refused("DENIED"):
        await backend.push_blob_chunked_resume(HIDDEN, writer.id, offset=None)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await backend.push_blob_chunked_resume(SHOWN, writer.id, offset=None)


async def test_a_mount_from_a_hidden_repository() -> None:
    _, backend, _ = await filled()
    with refused("NAME_UNKNOWN"):
        await backend.mount_blob(HIDDEN, SHOWN, digest_of(b"hidden bytes"))
    with refused("UNSUPPORTED"):
        await backend.mount_blob(None, SHOWN, digest_of(b"hidden bytes"))


async def test_a_mount_without_a_source_reveals_nothing() -> None:
    """The same answer, 202, for a blob that only a hidden repository has and for a blob that no repository has."""
    _, backend, _ = await filled()
    application = Handler(backend)
    statuses = []
    for content in (b"hidden bytes", b"nobody's bytes"):
        reply = await request(application, "POST", f"/v2/{SHOWN}/blobs/uploads/?mount={digest_of(content)}")
        statuses.append((reply.status, [name for name, _ in reply.headers]))
    assert statuses[0] == statuses[1]
    assert statuses[0][0] == 202


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 10])
async def test_the_catalog_shows_the_rest(limit: int | None) -> None:
    inner = Memory()
    for number in range(20):
        await push_blob(inner, b"text", f"{'public' if number % 5 == 0 else 'secret'}/{number:02}")
    backend = select(inner)
    shown = ["public/00", "public/05", "public/10", "public/15"]
    found = await collect(backend.repositories(limit=limit))
    assert found[: limit or 4] == shown[: limit or 4]
    after = await collect(backend.repositories(start_after="public/05", limit=limit))
    assert after[: limit or 2] == shown[2:][: limit or 2]


async def test_pages_of_the_catalog_have_no_holes() -> None:
    inner = Memory()
    for number in range(30):
        await push_blob(inner, b"text", f"{'public' if number % 7 == 0 else 'secret'}/{number:02}")
    application = Handler(select(inner))
    found: list[str] = []
    target = "/v2/_catalog?n=2"
    while target:
        reply = await request(application, "GET", target)
        found += reply.json()["repositories"]
        links = reply.all("link")
        target = links[0][1:].partition(">")[0] if links else ""
    assert found == [f"public/{number:02}" for number in range(0, 30, 7)]


async def test_referrers_of_a_shown_repository() -> None:
    inner, backend, digest = await filled()
    manifest = await inner.get_manifest(SHOWN, digest)
    await push_image(inner, subject=descriptor(IMAGE, manifest.content), repository=HIDDEN)
    assert await collect(backend.referrers(SHOWN, digest)) == []
