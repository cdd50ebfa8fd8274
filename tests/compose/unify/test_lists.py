"""Merged lists: in order, without duplicates, a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociserver import Memory, OCIError
from ociserver.compose import Unify
from ociserver.compose.unify.merge import merged
from tests.contract.contents import (
    IMAGE,
    REPOSITORY,
    collect,
    descriptor,
    digest_of,
    push_blob,
    push_image,
    push_manifest,
    tags_of,
)
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

PLAIN = "text/plain"
names = st.text("abc/-", max_size=3)


async def listed(items: list[str], limit: int | None) -> AsyncIterator[str]:
    for item in items if limit is None else items[:limit]:
        yield item


@given(st.lists(st.sets(names), min_size=1, max_size=4), st.none() | st.integers(1, 6))
def test_against_a_sorted_set(held: list[set[str]], limit: int | None) -> None:
    """With a limit, each list ends at it. Items after the last certain one must not be given."""
    lists = [listed(sorted(items), limit) for items in held]
    found = asyncio.run(collect(merged(lists, str, limit)))
    assert found == sorted(set().union(*held))[:limit]


async def test_repositories_and_tags() -> None:
    one, two, three = Memory(), Memory(), Memory()
    for backend, held in ((one, ["a", "c"]), (two, ["b", "c", "d"])):
        for name in held:
            await push_blob(backend, b"text", name)
            await push_manifest(backend, b"text", PLAIN, *held)
    unified = Unify(one, two, three)
    assert await collect(unified.repositories()) == ["a", "b", "c", "d", REPOSITORY]
    assert await collect(unified.repositories(start_after="b", limit=2)) == ["c", "d"]
    assert await tags_of(unified) == ["a", "b", "c", "d"]
    assert await tags_of(unified, "a") == []


async def test_referrers() -> None:
    one, two = Memory(), Memory()
    subject = descriptor(IMAGE, b"a subject")
    pushed = []
    for number, holders in enumerate([(one,), (two,), (one, two)]):
        for backend in holders:
            content = await push_image(backend, subject=subject, annotations={"number": str(number)})
        pushed.append(digest_of(content))
    found = await collect(Unify(one, two).referrers(REPOSITORY, subject["digest"]))
    assert [each.digest for each in found] == sorted(pushed)
    assert all(each.annotations for each in found)


async def test_an_unknown_repository() -> None:
    one, two = Memory(), Memory()
    await push_blob(two, b"text")
    assert await tags_of(Unify(one, two)) == []
    with refused("NAME_UNKNOWN"):
        await tags_of(Unify(one, two), "no/such")


async def test_a_registry_that_fails_fails_the_list() -> None:
    class Failing(Memory):
        async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
            yield "a"
            raise OCIError("TOOMANYREQUESTS")

    one = Memory()
    await push_manifest(one, b"text", PLAIN, "b")
    with refused("TOOMANYREQUESTS"):
        await tags_of(Unify(one, Failing()))


async def test_a_list_that_is_closed_early() -> None:
    closed = []

    async def endless(name: str) -> AsyncIterator[str]:
        try:
            for number in range(10**9):
                yield f"{number:09}"
        finally:
            closed.append(name)

    found = merged([endless("one"), endless("two")], str, 3)
    assert await collect(found) == ["000000000", "000000001", "000000002"]
    assert sorted(closed) == ["one", "two"]
