"""Authentication in front of everything that a backend can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ociserver import Backend, Handler, Memory, Options, Store
from ociserver.compose import Cache, Debug, Immutable, ReadOnly, Sub, Unify
from ociserver.interface import Url
from tests.auth.registry import EMPTY, basic, bearer, digest_of, handler, put_blob, put_manifest, token
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

TAG = "/v2/team/app/manifests/v1"
BLOB = f"/v2/team/app/blobs/{digest_of(EMPTY)}"


class Elsewhere(Memory):
    """Sends clients elsewhere for blobs."""

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        await self.resolve_blob(repository, digest)
        return Url("https://elsewhere.example/blob")


def cache(folder: Path) -> Backend:
    local = Store(folder / "cache", lax_child_references=True)
    return Cache(Memory(lax_child_references=True), local, is_local=lambda _: True)


MADE: dict[str, Callable[[Path], Backend]] = {
    "unify": lambda _: Unify(Memory(lax_child_references=True), Memory(lax_child_references=True)),
    "sub": lambda _: Sub(Memory(lax_child_references=True), "below"),
    "immutable": lambda _: Immutable(Memory(lax_child_references=True)),
    "debug": lambda _: Debug(Memory(lax_child_references=True)),
    "cache": cache,
    "store": lambda folder: Store(folder / "data", lax_child_references=True),
}


@pytest.mark.parametrize("name", MADE)
async def test_rights_before_each_backend(name: str, tmp_path: Path) -> None:
    async with handler(tmp_path, MADE[name](tmp_path)) as app:
        assert (await put_blob(app, "team/app", EMPTY, basic("alice"))).status == 201
        assert (await put_manifest(app, "team/app", "v1", basic("alice"))).status == 201
        narrow = bearer(await token(app, "bob", "repository:team/app:pull"))
        for path in (TAG, BLOB, TAG, BLOB):
            for headers, status in ((narrow, 200), (basic("bob"), 200), (basic("mallory"), 403), ({}, 401)):
                reply = await request(app, "GET", path, headers=headers)
                assert reply.status == status, (path, headers)
        # Tags that exist stay where they are.
        assert (await put_manifest(app, "team/app", "v1", basic("ci-1"), "other")).status == 403
        assert (await put_manifest(app, "team/app", "v2", basic("ci-1"), "other")).status == 201
        for headers, names in ((basic("bob"), ["team/app"]), (basic("mallory"), [])):
            assert (await request(app, "GET", "/v2/_catalog", headers=headers)).json()["repositories"] == names


async def test_a_read_only_registry_says_so_only_to_those_who_may_push(tmp_path: Path) -> None:
    app = handler(tmp_path, ReadOnly(Memory()))
    assert (await put_manifest(app, "team/app", "v1", basic("alice"))).code == "UNSUPPORTED"
    assert (await put_manifest(app, "team/app", "v1", basic("bob"))).code == "DENIED"


async def test_a_redirect_comes_after_the_check(tmp_path: Path) -> None:
    guarded = handler(tmp_path, Elsewhere())
    app = Handler(guarded.backend, Options(redirect_pulls=True), auth=guarded.site.auth)
    assert (await put_blob(app, "team/app", EMPTY, basic("alice"))).status == 201
    for headers, status in ((basic("bob"), 307), (basic("mallory"), 403), ({}, 401)):
        reply = await request(app, "GET", BLOB, headers=headers)
        assert (reply.status, bool(reply.all("location"))) == (status, status == 307)


async def test_a_catalog_page_reads_only_the_ranges_of_the_rules(tmp_path: Path) -> None:
    """CVE-2023-2253, and more: few rights must not make a page of a large registry expensive."""

    class Counting(Memory):
        read = 0

        async def repositories(self, **page: object):  # type: ignore[no-untyped-def]
            async for name in super().repositories(**page):  # type: ignore[arg-type]
                Counting.read += 1
                yield name

    backend = Counting(lax_child_references=True)
    for name in ("a", "public/a", "public/b", "public/c", "team/app", "z"):
        await backend.push_manifest(name, b"x", "text/plain")
    for number in range(3000):
        await backend.push_manifest(f"other/{number}", b"x", "text/plain")
    app = handler(tmp_path, backend)
    reply = await request(app, "GET", "/v2/_catalog?n=1000000000", headers=basic("mallory"))
    assert reply.json()["repositories"] == ["public/a", "public/b", "public/c"]
    assert Counting.read < 10
    reply = await request(app, "GET", "/v2/_catalog?n=2&last=public/a", headers=basic("bob"))
    assert reply.json()["repositories"] == ["public/b", "public/c"]
    assert reply["link"] == '</v2/_catalog?n=2&last=public%2Fc>;rel="next"'
    reply = await request(app, "GET", "/v2/_catalog?n=2&last=public/c", headers=basic("bob"))
    assert reply.json()["repositories"] == ["team/app"]
    assert not reply.all("link")
