"""The index: earlier versions in a file of their own, its behaviour while it is locked, and its memory."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.compose import Cache
from ociserver.compose.cache.index import Index
from ociserver.compose.cache.old_index import take_over
from ociserver.compose.cache.queries import Content
from ociserver.lru import LRU
from ociserver.store import StoreError
from tests.compose.cache.upstream import REPOSITORY, Upstream, push, read
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

OLD = """
PRAGMA journal_mode = WAL;
CREATE TABLE repository (name TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO repository VALUES ('a', 'upstream'), ('b', 'upstream'), ('mine', 'local');
"""
"""What all versions of `cache.db` had."""

KEPT = """
CREATE TABLE kept (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, digest TEXT NOT NULL, repository TEXT NOT NULL, size INTEGER NOT NULL,
    used REAL NOT NULL, added INTEGER NOT NULL, UNIQUE (kind, digest, repository)
);
CREATE TABLE kept_in (
    kept_id INTEGER NOT NULL REFERENCES kept ON DELETE CASCADE, repository TEXT NOT NULL,
    PRIMARY KEY (kept_id, repository)
) WITHOUT ROWID;
INSERT INTO kept VALUES
    (1, 'blob', 'sha256:1', '', 100, 3.0, 7), (2, 'blob', 'sha256:2', '', 10, 2.0, 7),
    (3, 'manifest', 'sha256:3', 'a', 5, 4.0, 7), (4, 'manifest', 'sha256:3', 'b', 5, 5.0, 7);
INSERT INTO kept_in VALUES (1, 'a'), (1, 'b'), (2, 'a'), (3, 'a'), (4, 'b');
"""
"""What its second version had."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(tmp_path / "data", lax_child_references=True) as store:
        yield store


@pytest.mark.parametrize("tables", [OLD, OLD + KEPT], ids=["1", "2"])
async def test_an_index_in_a_file_of_its_own(store: Store, tables: str) -> None:
    path = store.path / "cache.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(tables)
    connection.close()
    copy = path.read_bytes()
    for _ in range(2):
        await take_over(store)
        assert not any(store.path.glob("cache.*"))
        index = Index(store)
        owners = [await index.owner(name) for name in ("a", "b", "mine", "new")]
        assert owners == ["upstream", "upstream", "local", None]
        if tables != OLD:
            assert await index.total() == 100 + 10 + 5 + 5
            least = [(kept.content.digest, kept.repositories) for kept in await index.least_used(10)]
            assert least == [("sha256:2", ("a",)), ("sha256:1", ("a", "b")), ("sha256:3", ("a",)), ("sha256:3", ("b",))]
        # The process was killed before it had deleted the file.
        path.write_bytes(copy)


async def test_an_index_that_cannot_be_read(store: Store, upstream: Upstream) -> None:
    """Without it, the cache would take what it has fetched for pushed."""
    (store.path / "cache.db").write_bytes(b"bolt" * 1_000)
    with pytest.raises(StoreError, match="cannot be read"):
        async with Cache(upstream, store):
            pass
    assert (store.path / "cache.db").exists()


async def test_forgetting_a_manifest_forgets_its_tags(store: Store) -> None:
    index = Index(store)
    digest = digest_of(b"{}")
    for name in ("a", "b"):
        await store.push_manifest(name, b"{}", "application/x")
        await index.add(Content("manifest", digest, name), name, 5)
        await index.check_tag(name, "latest", digest, 7.0)
    await index.remove(Content("manifest", digest, "a"), ["a"])
    assert [await index.checked(name, "latest") for name in ("a", "b")] == [0, 7]


async def test_contents_are_counted_once_and_ordered_by_use(store: Store) -> None:
    digests = [await push(store, "a", content) for content in (b"1", b"2")]
    await push(store, "b", b"1")
    for index in (Index(store), Index(None)):
        await index.open()
        one, other = (Content("blob", digest) for digest in digests)
        await index.add(one, "a", 100)
        await index.add(other, "a", 10)
        await index.add(one, "b", 100)
        await index.note_uses({other: time.time() + 10, Content("blob", "sha256:9"): 1.0})
        assert await index.total() == 110
        assert [kept.content for kept in await index.least_used(10)] == [one, other]
        assert await index.repository_with(one.digest) in ("a", "b")
        assert not await index.remove(one, ["a"])
        assert await index.remove(one, ["b"])
        assert (await index.total(), await index.repository_with(one.digest)) == (10, None)
        assert await index.claim("a", "upstream") == ("upstream", True)
        assert await index.claim("a", "local") == ("upstream", False)
        assert await index.claim("b", "local") == ("local", True)
        await index.release(["a", "b"])
        assert [await index.owner(name) for name in ("a", "b")] == ["upstream", None]
        await index.close()


async def test_warm_reads_do_not_wait_while_the_index_is_locked(store: Store, upstream: Upstream) -> None:
    """Another program may lock the database for long. Neither reads nor the event loop wait for it."""
    content = random_bytes(100_000, seed=1)
    await upstream.image(content)
    async with Cache(upstream, store, use_after=0) as cache:
        await cache.get_tag(REPOSITORY, "latest")
        await read(cache.get_blob(REPOSITORY, digest_of(content)))
        with sqlite3.connect(store.path / "registry.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            for _ in range(10):
                await cache.get_tag(REPOSITORY, "latest")
                assert await read(cache.get_blob(REPOSITORY, digest_of(content))) == content
            # A write waits, and nothing else waits with it.
            cold = asyncio.ensure_future(
                read(cache.get_blob(REPOSITORY, await push(upstream.memory, REPOSITORY, b"x")))
            )
            longest = 0.0
            for _ in range(20):
                at = time.monotonic()
                await asyncio.sleep(0.005)
                longest = max(longest, time.monotonic() - at)
            assert longest < 1
            assert time.monotonic() - began < 5
            assert not cold.done()
            other.execute("COMMIT")
        other.close()
        assert await cold == b"x"


def test_the_most_recently_used_entries_stay() -> None:
    entries: LRU[str, int] = LRU(3)
    for number, name in enumerate("abc"):
        entries.put(name, number)
    assert entries.get("a") == 0
    entries.put("b", 5)
    assert entries.peek("c") == 2
    entries.put("d", 3)
    assert [entries.peek(name) for name in "abcd"] == [0, 5, None, 3]
    entries.pop("c")
    entries.pop("a")
    assert (len(entries), entries.get("a")) == (2, None)


async def test_uses_in_memory_are_written_before_an_eviction(store: Store, upstream: Upstream) -> None:
    """Uses are written in batches. An eviction considers all of them."""
    digests = [await push(upstream.memory, REPOSITORY, random_bytes(40_960, seed)) for seed in range(4)]
    async with Cache(upstream, store, max_bytes=3 * 40_960, use_after=0) as cache:
        for digest in (*digests[:3], *digests[:2], digests[3]):
            await read(cache.get_blob(REPOSITORY, digest))
        least = await Index(store).least_used(10)
        assert {kept.content.digest for kept in least} == {digests[0], digests[1], digests[3]}
