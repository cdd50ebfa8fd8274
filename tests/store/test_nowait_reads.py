"""What a store answers in other threads than the event loop's (`Store.read_nowait`): the database's state, or None."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any, TypeVar

import pytest

from ociserver import OCIError
from ociserver.store import Store, reads
from ociserver.store.upload import INLINE_SIZE
from tests.contract.contents import REPOSITORY, digest_of, push_blob
from tests.contract.errors import refused
from tests.store.looking import rows

pytestmark = pytest.mark.anyio

Result = TypeVar("Result")
TYPE = "application/vnd.example+json"
CONTENT, BLOB = b"manifest", b"blob"
DIGEST = digest_of(CONTENT)
PAUSE_S = 0.0001
"""Pause of threads that read in a loop: one that never waits holds the GIL for 5 ms at a time."""


async def seed(store: Store, content: bytes = CONTENT) -> None:
    await push_blob(store, BLOB)
    await store.push_manifest(REPOSITORY, content, TYPE, tags=["tag"])


async def beside(work: Callable[..., Result], *arguments: Any) -> Result:
    """In another thread, like granian's."""
    return await asyncio.to_thread(work, *arguments)


def everything(store: Store, manifest: str = DIGEST, blob: bytes = BLOB) -> list[tuple[str, bytes | None] | None]:
    """The results of all kinds of reads, by tag and by digest."""
    asked = [
        ("manifest_get", "tag"),
        ("manifest_head", "tag"),
        ("manifest_get", manifest),
        ("manifest_head", manifest),
        ("blob_get", digest_of(blob)),
        ("blob_head", digest_of(blob)),
    ]
    found = [store.read_nowait(kind, REPOSITORY, reference) for kind, reference in asked]
    return [
        None if answer is None else (answer[0].digest, answer[1] if kind.endswith("get") else None)
        for answer, (kind, _) in zip(found, asked, strict=True)
    ]


ALL = [
    *[(DIGEST, CONTENT), (DIGEST, None)] * 2,
    (digest_of(BLOB), BLOB),
    (digest_of(BLOB), None),
]


async def test_what_nobody_has_asked_for_yet_is_looked_up(store: Store) -> None:
    await seed(store)
    assert everything(store) == [None] * 6, "the event loop has its own way"
    assert await beside(everything, store) == ALL


async def test_it_is_kept_for_whoever_asks_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await seed(store)
    await beside(everything, store)
    monkeypatch.setattr(store.database, "read_nowait", None)
    monkeypatch.setattr(store.database, "read", None)
    assert everything(store) == await beside(everything, store) == ALL
    assert (await store.get_tag(REPOSITORY, "tag")).content == CONTENT


async def test_what_is_not_there_is_refused(store: Store) -> None:
    await seed(store)
    nothing = digest_of(b"nothing")
    for kind, reference, code in (
        ("manifest_get", "none", "MANIFEST_UNKNOWN"),
        ("manifest_head", nothing, "MANIFEST_UNKNOWN"),
        ("blob_get", nothing, "BLOB_UNKNOWN"),
        ("blob_head", nothing, "BLOB_UNKNOWN"),
    ):
        with refused(code):
            await beside(store.read_nowait, kind, REPOSITORY, reference)
        with refused("NAME_UNKNOWN"):
            await beside(store.read_nowait, kind, "elsewhere", reference)
        assert store.read_nowait(kind, REPOSITORY, reference) is None


async def test_a_large_manifest_is_left_to_the_loop(store: Store) -> None:
    content = bytes(reads.SMALL_SIZE + 1)
    await seed(store, content)
    digest = digest_of(content)
    assert await beside(everything, store, digest) == [None, (digest, None), None, (digest, None), *ALL[4:]]
    await seed(store, content[1:])
    assert (await beside(everything, store, digest_of(content[1:])))[0] == (digest_of(content[1:]), content[1:])


async def test_what_is_in_a_file_is_left_to_the_loop(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the database is not read a second time for it, whatever is committed."""
    await seed(store)
    blob = os.urandom(INLINE_SIZE + 1)
    digest = await push_blob(store, blob)
    assert (await beside(everything, store, DIGEST, blob))[4:] == [None, None]
    await push_blob(store, b"another")
    with monkeypatch.context() as patch:
        patch.setattr(store.database, "read_nowait", None)
        for kind in ("blob_get", "blob_head"):
            assert await beside(store.read_nowait, kind, REPOSITORY, digest) is None
    assert (await beside(everything, store))[4:] == ALL[4:]


async def test_a_copy_that_is_marked_bad_is_left_to_the_loop(store: Store) -> None:
    await seed(store)
    rows(store, "UPDATE copies SET bad = 1")
    assert (await beside(everything, store))[4:] == [None, None]


async def test_a_blob_whose_renewal_is_due_is_left_to_the_loop(store: Store) -> None:
    await seed(store)
    rows(store, "UPDATE links SET renewed = 1")
    assert (await beside(everything, store))[4:] == [ALL[4], None]


async def test_a_writer_is_not_waited_for(store: Store) -> None:
    await seed(store)
    with closing(sqlite3.connect(store.path / "registry.db", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("DELETE FROM tags")
        assert await beside(everything, store) == ALL
        writer.execute("COMMIT")
    with refused("MANIFEST_UNKNOWN"):
        await beside(everything, store)


async def test_no_transaction_is_left_open(store: Store) -> None:
    """It would prevent copying the log back, and later reads would not see what was committed."""
    await seed(store)
    await beside(everything, store)
    await push_blob(store, b"another")
    ((busy, _, _),) = rows(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert busy == 0


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database is locked"), sqlite3.DatabaseError("malformed")])
async def test_what_goes_wrong_is_left_to_the_loop(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Failing:
        def execute(self, *_: Any) -> Any:
            raise error

    await seed(store)
    with monkeypatch.context() as patch:
        patch.setattr(store.database, "_nowait_connection", Failing())
        assert await beside(everything, store) == [None] * 6
    assert await beside(everything, store) == ALL


async def test_a_second_thread_does_not_wait_for_the_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Slow:
        def execute(self, *_: Any) -> Any:
            entered.set()
            go_on.wait(10)
            raise sqlite3.OperationalError("interrupted")

    await seed(store)
    with monkeypatch.context() as patch:
        patch.setattr(store.database, "_nowait_connection", Slow())
        first = asyncio.ensure_future(beside(store.read_nowait, "manifest_get", REPOSITORY, "tag"))
        await beside(entered.wait, 10)
        assert await asyncio.wait_for(beside(everything, store), 5) == [None] * 6
        go_on.set()
        assert await first is None
    assert await beside(everything, store) == ALL


async def test_closing_and_opening_beside_it(store: Store) -> None:
    """A read while the store is closed returns None, and uses no closed connection."""
    await seed(store)
    stop, seen, failures = threading.Event(), set(), list[BaseException]()

    def look() -> None:
        try:
            while not stop.is_set():
                for answer in everything(store):
                    seen.add(answer is not None)
                time.sleep(PAUSE_S)
        except BaseException as error:
            failures.append(error)

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(20):
            await asyncio.sleep(0.01)
            await store.__aexit__(None, None, None)
            assert await beside(everything, store) == [None] * 6
            await store.__aenter__()
    finally:
        stop.set()
        for thread in looking:
            thread.join()
    assert failures == []
    assert seen == {True, False}


@pytest.mark.parametrize("threads", [1, 2])
async def test_what_was_acknowledged_is_seen_by_every_thread(store: Store, other: Store, threads: int) -> None:
    """Two stores move a tag forward in turn. No read may return an older number than was acknowledged."""
    acknowledged, stop, failures, answers = -1, threading.Event(), list[str](), [0] * threads

    def follow(number: int) -> None:
        last = -1
        while not stop.is_set():
            time.sleep(PAUSE_S)
            least = max(last, acknowledged)
            try:
                found = store.read_nowait("manifest_get", REPOSITORY, "tag")
            except OCIError:
                last = -1
            else:
                if found is None:
                    continue
                assert found[1] is not None
                last = int(found[1])
                answers[number] += 1
            if last < least:
                failures.append(f"{last} after {least}")

    following = [threading.Thread(target=follow, args=(number,)) for number in range(threads)]
    for thread in following:
        thread.start()
    try:
        for number in range(300):
            await (store, other)[number % 2].push_manifest(REPOSITORY, b"%d" % number, TYPE, tags=["tag"])
            acknowledged = number
            assert int((await store.get_tag(REPOSITORY, "tag")).content) == number
    finally:
        stop.set()
        for thread in following:
            thread.join()
    assert failures == []
    assert min(answers) > 100
