"""A cached result is never older than the database."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from ociserver import OCIError
from ociserver.store import Store, read_cache
from ociserver.store.read_cache import ReadCache
from ociserver.store.wal_index import WalIndex
from tests.contract.contents import REPOSITORY, digest_of, push_blob
from tests.contract.errors import refused
from tests.store.looking import rows

pytestmark = pytest.mark.anyio

TYPE = "application/vnd.example+json"


async def push(store: Store, content: bytes, *tags: str) -> str:
    return (await store.push_manifest(REPOSITORY, content, TYPE, tags=tags)).descriptor.digest


async def reads(store: Store, digest: str, tag: str, blob: str) -> list[str]:
    """Every read that may be answered from memory."""
    return [
        (await store.get_tag(REPOSITORY, tag)).descriptor.digest,
        (await store.resolve_tag(REPOSITORY, tag)).digest,
        (await store.get_manifest(REPOSITORY, digest)).descriptor.digest,
        (await store.resolve_manifest(REPOSITORY, digest)).digest,
        (await store.resolve_blob(REPOSITORY, blob)).digest,
        (await store.get_blob(REPOSITORY, blob)).descriptor.digest,
    ]


async def test_a_commit_of_another_process_is_seen_at_once(store: Store, other: Store) -> None:
    blob = await push_blob(store, b"blob")
    for number in range(50):
        digest = await push(other, b"%d" % number, "tag")
        for _ in range(3):
            assert await reads(store, digest, "tag", blob) == [digest] * 4 + [blob] * 2


async def test_what_was_deleted_is_gone_from_memory_too(store: Store, other: Store) -> None:
    blob, digest = await push_blob(store, b"blob"), await push(store, b"manifest", "tag")
    await reads(store, digest, "tag", blob)
    await other.delete_tag(REPOSITORY, "tag")
    with refused("MANIFEST_UNKNOWN"):
        await store.get_tag(REPOSITORY, "tag")
    with refused("MANIFEST_UNKNOWN"):
        await store.resolve_tag(REPOSITORY, "tag")
    await other.delete_manifest(REPOSITORY, digest)
    with refused("MANIFEST_UNKNOWN"):
        await store.get_manifest(REPOSITORY, digest)
    with refused("MANIFEST_UNKNOWN"):
        await store.resolve_manifest(REPOSITORY, digest)
    await other.delete_blob(REPOSITORY, blob)
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, blob)
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, blob)


async def test_a_statement_past_every_store_is_seen_too(store: Store) -> None:
    blob, digest = await push_blob(store, b"blob"), await push(store, b"manifest", "tag")
    await reads(store, digest, "tag", blob)
    rows(store, "UPDATE copies SET bad = 1")
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, blob)


async def test_it_is_answered_from_memory(store: Store) -> None:
    """Else nothing here would show anything."""
    blob, digest = await push_blob(store, b"blob"), await push(store, b"manifest", "tag")
    await reads(store, digest, "tag", blob)
    read, store.database.read = store.database.read, None  # type: ignore[method-assign, assignment]
    try:
        assert await reads(store, digest, "tag", blob) == [digest] * 4 + [blob] * 2
    finally:
        store.database.read = read  # type: ignore[method-assign]


async def test_a_process_that_writes_beside_readers(store: Store) -> None:
    """A tag only moves forward. A read that returns an older number than before comes from a stale cache."""
    program = (
        "import asyncio, sys\n"
        "from ociserver import Store\n"
        "async def main():\n"
        "    async with Store(sys.argv[1], durability='off') as store:\n"
        "        for number in range(400):\n"
        "            await store.push_manifest('repository', b'%06d' % number, 'x/y', tags=['tag'])\n"
        "            print(number, flush=True)\n"
        "asyncio.run(main())\n"
    )
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(store.path), stdout=subprocess.PIPE
    )
    assert writer.stdout
    acknowledged = -1

    async def follow() -> None:
        nonlocal acknowledged
        assert writer.stdout
        async for line in writer.stdout:
            acknowledged = int(line)

    following = asyncio.ensure_future(follow())
    last, answers = -1, 0
    while not following.done():
        least = max(acknowledged, last)
        try:
            last = int((await store.get_tag("repository", "tag")).content)
        except OCIError:
            assert least == -1
        else:
            assert last >= least
            answers += 1
        await asyncio.sleep(0)
    assert await writer.wait() == 0
    assert last == acknowledged == 399
    assert answers > 400


async def test_large_contents_are_not_kept_and_old_ones_go() -> None:
    kept = ReadCache(lambda: b"same", max_bytes=10 * read_cache.OVERHEAD)
    kept.begin().put("large", "value", bytes(read_cache.MAX_ENTRY))
    assert kept.get("large") is None
    for number in range(100):
        kept.begin().put(number, number + 1, b"")
    assert [number for number in range(100) if kept.get(number)] == list(range(90, 100))


async def test_what_two_threads_keep_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(OrderedDict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            time.sleep(0)  # the other thread has its turn
            super().__setitem__(key, value)

    monkeypatch.setattr(read_cache, "OrderedDict", Slow)
    kept = ReadCache(lambda: b"same", max_bytes=10 * read_cache.OVERHEAD)

    def keep() -> None:
        for number in range(500):
            kept.begin().put(number, number + 1, b"")

    await asyncio.gather(asyncio.to_thread(keep), asyncio.to_thread(keep))
    assert [number for number in range(500) if kept.get(number)] == list(range(490, 500))


async def test_nothing_is_kept_that_was_read_while_something_was_committed() -> None:
    now = [b"1"]
    kept = ReadCache(lambda: now[0])
    generation = kept.begin()
    now[0] = b"2"
    generation.put("key", "read before", b"")
    assert kept.get("key") is None
    kept.begin().put("key", "read after", b"")
    assert kept.get("key") == "read after"


async def test_what_another_thread_begins_makes_no_old_answers_new() -> None:
    """A result from before a commit must not be cached for the next version, which only the other thread has seen."""
    now = [b"1"]
    kept = ReadCache(lambda: now[0])
    reading = kept.begin()
    now[0] = b"2"
    kept.begin().put("other", "read at 2", b"")
    reading.put("key", "read at 1", b"")
    assert kept.get("key") is None
    assert kept.get("other") == "read at 2"
    now[0] = b"3"
    assert kept.get("other") is None


async def test_nothing_is_kept_where_commits_cannot_be_seen() -> None:
    kept = ReadCache(lambda: None)
    kept.begin().put("key", "value", b"")
    assert kept.get("key") is None


async def test_the_index_of_a_closed_store_has_no_header(store: Store) -> None:
    assert store.database.version()
    index = WalIndex.of(store.path / "registry.db")
    assert index is not None
    assert index.header()
    index.close()
    await store.__aexit__(None, None, None)
    assert index.header() is None
    assert store.database.version() is None


async def test_a_store_that_is_closed_takes_no_lock_of_another_with_it(store: Store) -> None:
    """Closing a file releases all locks of the process on it. Without its lock, SQLite would build the index again."""
    held = locks(store)
    assert held
    for _ in range(3):
        async with Store(store.path) as second:
            await push(second, os.urandom(10))
        assert locks(store) == held


async def test_nothing_stays_open(tmp_path: Path) -> None:
    for _ in range(2):
        async with Store(tmp_path / "data"):
            pass
    assert not [link for link in open_descriptors() if link.startswith(str(tmp_path))]


async def test_an_index_that_cannot_be_mapped(tmp_path: Path) -> None:
    assert WalIndex.of(tmp_path / "nothing.db") is None


async def test_reading_at_random_agrees_with_the_database(store: Store, other: Store) -> None:
    """Two stores that write, delete and read a few tags in turn, against a dict."""
    dice, tags = random.Random(7), {}
    for step in range(1500):
        actor, tag = dice.choice([store, other]), f"t{dice.randrange(4)}"
        match dice.randrange(6):
            case 0:
                content = b"%d" % step
                await push(actor, content, tag)
                tags[tag] = digest_of(content)
            case 1 if tag in tags:
                await actor.delete_tag(REPOSITORY, tag)
                del tags[tag]
            case _ if tag in tags:
                assert (await actor.resolve_tag(REPOSITORY, tag)).digest == tags[tag]
                assert (await actor.get_tag(REPOSITORY, tag)).descriptor.digest == tags[tag]
            case _ if tags:
                with refused("MANIFEST_UNKNOWN"):
                    await actor.get_tag(REPOSITORY, tag)


def locks(store: Store) -> set[str]:
    """Locks of this process on the index (Linux: /proc/locks)."""
    inode = (store.path / "registry.db-shm").stat().st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return {line.split(maxsplit=1)[1] for line in lines if f" {os.getpid()} " in line and f":{inode} " in line}


def open_descriptors() -> list[str]:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return links
