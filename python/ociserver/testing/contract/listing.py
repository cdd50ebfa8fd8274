"""Lists are sorted by code point, begin strictly after a name, and bear writes while they are read."""

from __future__ import annotations

import random
from contextlib import aclosing

import pytest

from ociserver import Backend
from ociserver.testing.contract.capabilities import Subject, needs
from ociserver.testing.contract.contents import REPOSITORY, collect, digest_of, push_blob, push_manifest, tags_of
from ociserver.testing.contract.errors import refused

PLAIN = "text/plain"

# By code point `-` < `.` < `/` < digits < upper case < `_` < lower case.
REPOSITORIES = ["a", "a-b", "a.b", "a/b", "a/b/c", "a0", "a_b", "aa", "b", "zz/9"]
TAGS = ["0", "10", "9", "A", "Z", "_", "a", "a-1", "a.1", "a_1", "latest", "z"]


async def fill(backend: Backend) -> None:
    names = REPOSITORIES.copy()
    random.Random(5).shuffle(names)
    for name in names:
        await push_blob(backend, b"text", name)
    tags = TAGS.copy()
    random.Random(6).shuffle(tags)
    await push_manifest(backend, b"text", PLAIN, *tags, repository="a")


@needs("lists")
class Listing:
    """Lists are sorted by code point, begin strictly after a name, and bear writes while they are read."""

    pytestmark = pytest.mark.anyio

    async def test_repositories_in_order(self, subject: Subject) -> None:
        await fill(subject.filled)
        assert await collect(subject.backend.repositories()) == REPOSITORIES

    async def test_tags_in_order(self, subject: Subject) -> None:
        await fill(subject.filled)
        assert await tags_of(subject.backend, "a") == TAGS

    async def test_repositories_after(self, subject: Subject) -> None:
        await fill(subject.filled)
        for start_after in ("", *REPOSITORIES, "!", "a-", "a/", "a/a", "a1", "b0", "zzz"):
            wanted = [name for name in REPOSITORIES if name > start_after]
            assert await collect(subject.backend.repositories(start_after=start_after)) == wanted, start_after

    async def test_tags_after(self, subject: Subject) -> None:
        await fill(subject.filled)
        for start_after in ("", *TAGS, "!", "00", "A0", "a-", "aa", "zz"):
            wanted = [tag for tag in TAGS if tag > start_after]
            assert await collect(subject.backend.tags("a", start_after=start_after)) == wanted, start_after

    async def test_a_limit_is_a_hint(self, subject: Subject) -> None:
        """A list gives at least `limit` items, if they exist. The caller takes no more."""
        await fill(subject.filled)
        after = TAGS[TAGS.index("9") + 1 :]
        for limit in (1, 2, 3, 9, 10, 11, 12, 13, 1_000_000):
            names = await collect(subject.backend.repositories(limit=limit))
            assert names[:limit] == REPOSITORIES[:limit]
            assert names == REPOSITORIES[: len(names)], limit
            tags = await collect(subject.backend.tags("a", start_after="9", limit=limit))
            assert tags[:limit] == after[:limit]
            assert tags == after[: len(tags)], limit

    async def test_pages_make_the_whole(self, subject: Subject) -> None:
        await fill(subject.filled)
        found: list[str] = []
        while page := (await collect(subject.backend.repositories(start_after=found[-1] if found else "", limit=3)))[
            :3
        ]:
            found += page
        assert found == REPOSITORIES

    async def test_an_empty_registry(self, subject: Subject) -> None:
        assert await collect(subject.backend.repositories()) == []
        assert await collect(subject.backend.repositories(start_after="a", limit=5)) == []

    async def test_a_repository_of_an_upload_alone(self, writable: Backend) -> None:
        """It holds nothing: anybody could fill the catalog by beginning uploads."""
        await push_blob(writable, b"text", "b")
        writer = await writable.push_blob_chunked("a")
        async with aclosing(writer):
            await writer.write(b"text")
            assert await collect(writable.repositories()) == ["b"]
            await writer.commit(digest_of(b"text"))
        assert await collect(writable.repositories()) == ["a", "b"]

    async def test_a_repository_that_everything_was_deleted_from(self, backend: Backend) -> None:
        for name in ("a", "b", "c"):
            await push_blob(backend, b"text", name)
            await push_manifest(backend, b"text", PLAIN, "latest", repository=name)
        await backend.delete_manifest("b", digest_of(b"text"))
        assert await collect(backend.repositories()) == ["a", "b", "c"]
        await backend.delete_blob("b", digest_of(b"text"))
        assert await collect(backend.repositories()) == ["a", "c"]
        # A page of it is full of what is there.
        assert (await collect(backend.repositories(limit=2)))[:2] == ["a", "c"]
        assert await collect(backend.repositories(start_after="a", limit=1)) == ["c"]
        await push_blob(backend, b"text", "b")
        assert await collect(backend.repositories()) == ["a", "b", "c"]
        await backend.delete_blob("b", digest_of(b"text"))
        assert await collect(backend.repositories()) == ["a", "c"]
        await push_manifest(backend, b"text", PLAIN, repository="b")
        assert await collect(backend.repositories()) == ["a", "b", "c"]
        await backend.delete_manifest("b", digest_of(b"text"))
        assert await collect(backend.repositories()) == ["a", "c"]

    async def test_a_repository_without_tags(self, subject: Subject) -> None:
        await push_blob(subject.filled, b"text")
        await push_manifest(subject.filled, b"text", PLAIN)
        assert await tags_of(subject.backend) == []

    async def test_tags_of_an_unknown_repository(self, subject: Subject) -> None:
        await push_blob(subject.filled, b"text")
        with refused("NAME_UNKNOWN"):
            await tags_of(subject.backend, "no/such")

    async def test_a_list_may_be_left_early(self, subject: Subject) -> None:
        await fill(subject.filled)
        async for name in subject.backend.repositories():
            assert name == REPOSITORIES[0]
            break
        await push_blob(subject.filled, b"more", "more")

    async def test_writes_do_not_disturb_a_list(self, backend: Backend) -> None:
        """Names that exist all the time come exactly once, in order. Names that are added or deleted may come."""
        stays = [f"b{number:04}" for number in range(0, 2400, 2)]
        goes = [f"b{number:04}" for number in range(1, 2400, 2)]
        await push_manifest(backend, b"text", PLAIN, *stays)
        await push_manifest(backend, b"other", PLAIN, *goes)
        found: list[str] = []
        async for tag in backend.tags(REPOSITORY):
            found.append(tag)
            if len(found) % 100 == 0:
                await backend.delete_tag(REPOSITORY, goes[-len(found) // 100])
                await push_manifest(backend, b"more", PLAIN, f"a{len(found)}", f"c{len(found)}", f"{tag}x")
        assert found == sorted(set(found))
        assert set(stays) <= set(found)

    async def test_a_list_that_is_emptied_while_it_is_read(self, backend: Backend) -> None:
        tags = [f"t{number:04}" for number in range(1500)]
        await push_manifest(backend, b"text", PLAIN, *tags)
        found: list[str] = []
        async for tag in backend.tags(REPOSITORY):
            if not found:
                await backend.delete_manifest(REPOSITORY, digest_of(b"text"))
            found.append(tag)
        assert found == tags[: len(found)]
        assert await tags_of(backend) == []
