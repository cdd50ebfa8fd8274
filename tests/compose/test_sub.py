"""Sub: shows a prefix as a registry, and no name leads out of it (Go: `ocifilter.Sub`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ociserver import Backend, Handler, Memory
from ociserver.compose import Sub
from tests.contract.contents import collect, digest_of, push_blob, push_image, push_manifest, read_blob, tags_of
from tests.contract.errors import refused
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

# `foo-`, `foo.` sort before `foo/`, `foo0` and `fooey` after it.
OUTSIDE = ["a", "foo", "foo-bar/a", "foo.x", "foo0", "fooey", "fooey/a", "z"]
INSIDE = ["a", "b/c", "b0", "d", "z/9"]


async def filled() -> tuple[Memory, Sub]:
    inner = Memory()
    for name in [*OUTSIDE, *(f"foo/{name}" for name in INSIDE)]:
        await push_blob(inner, name.encode(), name)
    return inner, Sub(inner, "foo")


async def test_only_repositories_below_the_prefix_are_shown() -> None:
    _, backend = await filled()
    assert await collect(backend.repositories()) == INSIDE


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 10])
@pytest.mark.parametrize("start_after", ["", "a", "b", "b/c", "!", "y", "zz", "foo/a"])
async def test_a_list_continues_after_a_name(start_after: str, limit: int | None) -> None:
    _, backend = await filled()
    wanted = [name for name in INSIDE if name > start_after][:limit]
    assert (await collect(backend.repositories(start_after=start_after, limit=limit)))[:limit] == wanted


async def test_pages_of_the_catalog_have_no_holes() -> None:
    _, backend = await filled()
    application = Handler(backend)
    found: list[str] = []
    target = "/v2/_catalog?n=2"
    while target:
        reply = await request(application, "GET", target)
        found += reply.json()["repositories"]
        links = reply.all("link")
        target = links[0][1:].partition(">")[0] if links else ""
    assert found == INSIDE


async def test_names_are_prefixed_on_the_way_in() -> None:
    inner, backend = await filled()
    content = await push_image(backend, "latest", repository="new")
    assert (await inner.get_tag("foo/new", "latest")).content == content
    await backend.mount_blob("a", "new", digest_of(b"foo/a"))
    assert await read_blob(inner, digest_of(b"foo/a"), repository="foo/new") == b"foo/a"
    await backend.delete_tag("new", "latest")
    assert await tags_of(inner, "foo/new") == []


CALLS: dict[str, Callable[[Backend, str], Awaitable[Any]]] = {
    "get_blob": lambda backend, name: backend.get_blob(name, digest_of(b"a")),
    "get_manifest": lambda backend, name: backend.get_manifest(name, digest_of(b"a")),
    "get_tag": lambda backend, name: backend.get_tag(name, "latest"),
    "resolve_blob": lambda backend, name: backend.resolve_blob(name, digest_of(b"a")),
    "resolve_manifest": lambda backend, name: backend.resolve_manifest(name, digest_of(b"a")),
    "resolve_tag": lambda backend, name: backend.resolve_tag(name, "latest"),
    "push_blob": lambda backend, name: push_blob(backend, b"x", name),
    "push_blob_chunked": lambda backend, name: backend.push_blob_chunked(name),
    "push_blob_chunked_resume": lambda backend, name: backend.push_blob_chunked_resume(name, "id", offset=None),
    "push_manifest": lambda backend, name: push_manifest(backend, b"x", "text/plain", repository=name),
    "mount_from": lambda backend, name: backend.mount_blob(name, "b", digest_of(b"a")),
    "mount_to": lambda backend, name: backend.mount_blob("a", name, digest_of(b"foo/a")),
    "delete_blob": lambda backend, name: backend.delete_blob(name, digest_of(b"a")),
    "delete_manifest": lambda backend, name: backend.delete_manifest(name, digest_of(b"a")),
    "delete_tag": lambda backend, name: backend.delete_tag(name, "latest"),
    "tags": lambda backend, name: tags_of(backend, name),
    "referrers": lambda backend, name: collect(backend.referrers(name, digest_of(b"a"))),
}


class Joining(Memory):
    """A backend that uses repositories as paths. It must never get a name that leads out of the prefix."""

    async def resolve_blob(self, repository: str, digest: str) -> Any:
        raise AssertionError(f"{repository} was asked for")


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("name", ["../a", "..", "", "a/../../a", "/a"])
async def test_nothing_leads_out(method: str, name: str) -> None:
    inner, backend = await filled()
    before = inner.size_bytes
    with refused("NAME_INVALID"):
        await CALLS[method](backend, name)
    assert inner.size_bytes == before
    with refused("NAME_INVALID"):
        await Sub(Joining(), "foo").resolve_blob(name, digest_of(b"a"))


async def test_a_mount_from_outside_the_prefix() -> None:
    _, backend = await filled()
    with refused("UNSUPPORTED"):
        await backend.mount_blob(None, "a", digest_of(b"z"))
    with refused("NAME_UNKNOWN"):
        await backend.mount_blob("z", "a", digest_of(b"z"))


async def test_a_name_that_becomes_too_long() -> None:
    _, backend = await filled()
    with refused("NAME_INVALID"):
        await push_blob(backend, b"x", "a" * 252)
    await push_blob(backend, b"x", "a" * 251)


async def test_prefixes_with_several_elements_or_none() -> None:
    inner, _ = await filled()
    assert await collect(Sub(inner, "foo/b").repositories()) == ["c"]
    assert await collect(Sub(Sub(inner, "foo"), "b").repositories()) == ["c"]
    assert await collect(Sub(inner, "").repositories()) == await collect(inner.repositories())


@pytest.mark.parametrize("prefix", ["foo/", "/foo", "..", "Foo", "foo//bar"])
def test_an_invalid_prefix(prefix: str) -> None:
    with pytest.raises(ValueError, match="is not a prefix of repositories"):
        Sub(Memory(), prefix)
