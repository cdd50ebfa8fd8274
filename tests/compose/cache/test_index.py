"""The index: earlier versions of its tables, its behaviour while it is locked, and its memory."""

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
from ociserver.compose.cache.queries import Content
from ociserver.lru import LRU
from ociserver.store import StoreError
from tests.compose.cache.upstream import REPOSITORY, Upstream, push, read
from tests.support.images import digest_of, random_bytes

pytestmark = pytest.mark.anyio

OLD = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS repository (name TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS content (
    repository TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL, used REAL NOT NULL,
    PRIMARY KEY (repository, digest, kind)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS content_used ON content (used);
CREATE INDEX IF NOT EXISTS content_digest ON content (digest);
CREATE TABLE IF NOT EXISTS tag (
    repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, checked REAL NOT NULL,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT * FROM total);
CREATE TRIGGER IF NOT EXISTS content_kept AFTER INSERT ON content BEGIN
    UPDATE total SET bytes = bytes + new.size; END;
CREATE TRIGGER IF NOT EXISTS content_forgotten AFTER DELETE ON content BEGIN
    UPDATE total SET bytes = bytes - old.size;
    DELETE FROM tag WHERE repository = old.repository AND digest = old.digest AND old.kind = 'manifest'; END;
INSERT INTO repository VALUES ('a', 'upstream'), ('b', 'upstream'), ('mine', 'local');
INSERT INTO content VALUES
    ('a', 'sha256:1', 'blob', 100, 1), ('b', 'sha256:1', 'blob', 100, 3), ('a', 'sha256:2', 'blob', 10, 2),
    ('a', 'sha256:3', 'manifest', 5, 4), ('b', 'sha256:3', 'manifest', 5, 5);
INSERT INTO tag VALUES ('a', 'latest', 'sha256:3', 7), ('b', 'latest', 'sha256:3', 8);
"""
"""Tables and rows of the first version."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(tmp_path / "data", lax_child_references=True) as store:
        yield store


async def test_an_index_without_a_version(store: Store) -> None:
    with sqlite3.connect(store.path / "cache.db") as connection:
        connection.executescript(OLD)
    connection.close()
    for _ in range(2):
        index = Index.of(store)
        await index.open()
        assert [await index.owner(name) for name in ("a", "b", "mine", "new")] == [
            "upstream",
            "upstream",
            "local",
            None,
        ]
        # A blob counts once now, even if several repositories have it.
        assert await index.total() == 100 + 10 + 5 + 5
        least = [(kept.content.digest, kept.repositories) for kept in await index.least_used(10)]
        assert least == [("sha256:2", ("a",)), ("sha256:1", ("a", "b")), ("sha256:3", ("a",)), ("sha256:3", ("b",))]
        assert [await index.checked(name, "latest") for name in ("a", "b")] == [7, 8]
        await index.close()
    index = Index.of(store)
    await index.open()
    await index.remove(Content("manifest", "sha256:3", "a"), ["a"])
    # Removing a manifest also removes the records of its tags.
    assert [await index.checked(name, "latest") for name in ("a", "b")] == [0, 8]
    await index.close()


async def test_an_index_of_a_newer_version(store: Store) -> None:
    with sqlite3.connect(store.path / "cache.db") as connection:
        connection.executescript(f"{OLD} PRAGMA user_version = 99;")
    connection.close()
    with pytest.raises(StoreError, match="newer ociserver"):
        await Index.of(store).open()


async def test_contents_are_counted_once_and_ordered_by_use(store: Store) -> None:
    for index in (Index.of(store), Index.of(None)):
        await index.open()
        one, other = Content("blob", "sha256:1"), Content("blob", "sha256:2")
        await index.add(one, "a", 100)
        await index.add(other, "a", 10)
        await index.add(one, "b", 100)
        await index.note_uses({other: time.time() + 10, Content("blob", "sha256:9"): 1.0})
        assert await index.total() == 110
        assert [kept.content for kept in await index.least_used(10)] == [one, other]
        assert await index.repository_with("sha256:1") in ("a", "b")
        assert not await index.remove(one, ["a"])
        assert await index.remove(one, ["b"])
        assert (await index.total(), await index.repository_with("sha256:1")) == (10, None)
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
        with sqlite3.connect(store.path / "cache.db", isolation_level=None) as other:
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
        index = Index.of(store)
        await index.open()
        assert {kept.content.digest for kept in await index.least_used(10)} == {digests[0], digests[1], digests[3]}
        await index.close()
