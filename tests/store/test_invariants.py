"""The invariants of docs/architecture.md that concern the store, one test each that fails when it is broken.

Where another file goes into the breadth of one, it is named; crashes and power cuts have folders of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import pytest

from ociserver import OCIError
from ociserver.store import Store, directory, sqlite, sqlite_writer, upload_file
from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from ociserver.store.sqlite import SQLite
from ociserver.store.upload import INLINE_SIZE
from tests.contract.contents import (
    IMAGE,
    REPOSITORY,
    descriptor,
    digest_of,
    image,
    push_blob,
    push_image,
    push_manifest,
    read_blob,
)
from tests.contract.errors import refused
from tests.store.looking import age, file_of, files, rows
from tests.store.test_sqlite import Batch
from tests.store.test_uploads import finish, resume, start

pytestmark = pytest.mark.anyio

LARGE = 3 * INLINE_SIZE
NOTHING_STAYS = Policy(unreferenced_after_s=0, grace_s=0, upload_timeout_s=0)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The failpoints that are reached, in order."""
    points: list[str] = []

    def reach(point: str, subjects: Any = ()) -> None:
        points.extend([f"{point} {subject}" for subject in subjects] or [point])

    for module in (sqlite, sqlite_writer, upload_file, directory):
        monkeypatch.setattr(module, "reach", reach)
    return points


async def test_a_crash_leaves_every_linked_blob_whole(store: Store, reached: list[str]) -> None:
    """Files are there, synced, before a row names them, and no row names them when they go (tests/store/crash)."""
    digest = await push_blob(store, os.urandom(LARGE))
    linked = reached.index("before commit of finish_blob")
    for point in ("chunk appended", "file synced", "folder synced"):
        assert reached.index(point) < linked
    assert reached.index("file synced") < reached.index("folder synced")
    reached.clear()
    await store.delete_blob(REPOSITORY, digest)
    await collect(store, NOTHING_STAYS)
    assert reached.index("after commit of drop_copy") < reached.index("before unlink")


async def test_nothing_is_scanned_at_the_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)

    def scan(*_: Any) -> Any:
        raise AssertionError("the blobs were scanned")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scan)
        patch.setattr(os, "listdir", scan)
        async with Store(store.path) as again:
            assert await read_blob(again, digest) == content


async def test_a_key_is_used_once(store: Store) -> None:
    """A content that is pushed again gets another key. The key of an upload is its id."""
    content, keys = os.urandom(LARGE), set()
    for round_ in range(6):
        if round_ % 2:
            upload_id = await start(store, content)
            await finish(store, upload_id, b"", digest_of(content))
            assert file_of(store, digest_of(content)).name == upload_id
        else:
            await push_blob(store, content)
        keys.add(file_of(store, digest_of(content)).name)
        if round_ < 3:
            os.truncate(file_of(store, digest_of(content)), 10)
        else:
            await store.delete_blob(REPOSITORY, digest_of(content))
            await collect(store, NOTHING_STAYS)
    assert len(keys) == 6


async def test_a_commit_of_an_upload_that_collection_has_ended_fails(store: Store) -> None:
    content = os.urandom(LARGE)
    late = await resume(store, await start(store, content))
    age(store, 2 * 24 * 3600)
    await collect(store)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await late.commit(digest_of(content))
    assert rows(store, "SELECT * FROM links") == []


async def test_linking_and_unlinking_exclude_each_other(store: Store, other: Store) -> None:
    """One process pushes, mounts and deletes, another collects with no time to wait: nothing linked is lost."""
    contents = [os.urandom(LARGE) for _ in range(4)]
    for content in contents:
        await push_image(store, "keeps", layers=[content], repository=f"source-{contents.index(content)}")
    store.renew_after_s = other.renew_after_s = 0
    stop = False
    rounds = pulled = 0

    async def collecting() -> None:
        while not stop:
            await collect(other, Policy(unreferenced_after_s=-5, grace_s=-5, upload_timeout_s=3600))

    collector = asyncio.ensure_future(collecting())
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        content = contents[rounds % len(contents)]
        digest = digest_of(content)
        if rounds % 3 == 0:
            await store.mount_blob(None, REPOSITORY, digest)
        else:
            await push_blob(store, content)
        with suppress(OCIError):  # unlinked before its manifest came: this collection knows no patience
            await push_blob(store, b"{}")
            await push_manifest(store, image(b"{}", content), IMAGE, "tag")
        if rows(
            store, "SELECT 1 FROM tags t JOIN repositories r ON r.id = t.repository_id WHERE r.name = ?", REPOSITORY
        ):
            assert await read_blob(store, digest) == content
            pulled += 1
            await store.delete_manifest(REPOSITORY, digest_of(image(b"{}", content)))
        if rounds % 5 == 0:
            with suppress(OCIError):
                await store.delete_blob(REPOSITORY, digest)
        rounds += 1
    stop = True
    await collector
    assert pulled > 5
    assert (await check(store, content=True)).faults == []
    for number, content in enumerate(contents):
        assert await read_blob(store, digest_of(content), repository=f"source-{number}") == content


async def test_references_of_every_manifest_that_can_be_read(store: Store) -> None:
    """Required references and others. If a manifest cannot be read, nothing is unlinked (test_collect: references)."""
    digest = await push_blob(store, b"layer")
    await push_manifest(store, json.dumps({"x": [descriptor("a/b", b"layer")]}).encode(), "application/x-json")
    age(store, 2 * 24 * 3600)
    assert (await collect(store)).counts == {}
    assert (await store.resolve_blob(REPOSITORY, digest)).size == 5


async def test_a_copy_that_is_missing_or_short_is_pushed_again(store: Store) -> None:
    """404 to HEAD and GET, and a push replaces it (test_reading, test_check)."""
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    os.truncate(file_of(store, digest), LARGE - 1)
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest)
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, digest)
    await push_blob(store, content)
    assert await read_blob(store, digest) == content


async def test_any_process_goes_on_and_the_state_vouches_for_what_is_there(store: Store, other: Store) -> None:
    """(test_uploads: any process, one writer)"""
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:30_000])
    os.truncate(store.blob_folder.path(upload_id), 20_000)
    async with aclosing(await resume(other, upload_id)) as upload:
        assert upload.size == 20_000
        await upload.write(content[20_000:])
        async with aclosing(await resume(store, upload_id)) as second:
            with refused("RANGE_INVALID"):
                await second.write(b"x")
        await upload.commit(digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


# 10: what a request costs, in steps of SQLite's machine, which are the same every time


@contextmanager
def counting(connection: sqlite3.Connection | None) -> Iterator[list[int]]:
    assert connection is not None
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    connection.set_progress_handler(step, 1)
    try:
        yield steps
    finally:
        connection.set_progress_handler(None, 0)


async def cost(store: Store, request: Callable[[], Awaitable[object]]) -> int:
    assert isinstance(store.database, SQLite)
    with counting(store.database._reader) as reading, counting(store.database._writer) as writing:
        await request()
    return reading[0] + writing[0]


async def listed(items: Any) -> int:
    return len([item async for item in items])


def filled(store: Store, count: int) -> None:
    """`count` repositories, one with as many tags, referrers, blobs and uploads, written directly to the database."""
    with sqlite3.connect(store.path / "registry.db") as connection:
        ((number,),) = connection.execute("SELECT id FROM repositories WHERE name = ?", (REPOSITORY,)).fetchall()
        ((manifest,),) = connection.execute("SELECT MIN(id) FROM manifests").fetchall()
        ((subject,),) = connection.execute("SELECT digest FROM manifests WHERE id = ?", (manifest,)).fetchall()
        for n in range(count):
            digest = digest_of(str(n).encode())
            connection.execute("INSERT INTO repositories (name) VALUES (?)", (f"many/{n:06}",))
            connection.execute("INSERT INTO tags VALUES (?, ?, ?)", (number, f"tag-{n:06}", manifest))
            connection.execute(
                "INSERT INTO manifests (repository_id, digest, media_type, kind, size, renewed, subject, artifact_type,"
                " content) VALUES (?, ?, 'a/b', 'other', 1, 0, ?, ?, 'x')",
                (number, digest, subject, f"type-{n % 2}"),
            )
            connection.execute(
                "INSERT INTO copies (digest, size, content) VALUES (?, 1, 'x')", (digest_of(f"blob {n}".encode()),)
            )
            connection.execute("INSERT INTO links SELECT ?, MAX(id), unixepoch() FROM copies", (number,))
            connection.execute("INSERT INTO uploads VALUES (?, ?, 'sha256', 0, '', unixepoch())", (f"{n:032x}", number))
    connection.close()


async def test_no_request_grows_with_the_registry(store: Store) -> None:
    config, layer = b"{}", os.urandom(LARGE)
    subject = await push_image(store, "latest", config=config, layers=[layer])
    digest = digest_of(subject)

    def requests(n: int) -> dict[str, Callable[[], Awaitable[object]]]:
        """`n` makes each round push and delete other things."""
        new = f"new {n}".encode()
        manifest = image(config, layer, annotations={"round": str(n)})
        return {
            "catalog": lambda: listed(store.repositories(start_after="many/000050", limit=20)),
            "tags": lambda: listed(store.tags(REPOSITORY, start_after="tag-000050", limit=20)),
            "referrers": lambda: listed(store.referrers(REPOSITORY, digest, limit=20)),
            "filtered": lambda: listed(store.referrers(REPOSITORY, digest, "type-1", limit=20)),
            "get tag": lambda: store.get_tag(REPOSITORY, "latest"),
            "get manifest": lambda: store.get_manifest(REPOSITORY, digest),
            "head blob": lambda: store.resolve_blob(REPOSITORY, digest_of(layer)),
            "push blob": lambda: push_blob(store, new),
            "mount": lambda: store.mount_blob(None, "elsewhere", digest_of(layer)),
            "push manifest": lambda: push_manifest(store, manifest, IMAGE, f"v{n}"),
            "delete tag": lambda: store.delete_tag(REPOSITORY, f"v{n}"),
            "delete manifest": lambda: store.delete_manifest(REPOSITORY, digest_of(manifest)),
            "delete blob": lambda: store.delete_blob(REPOSITORY, digest_of(new)),
            "start upload": lambda: store.push_blob_chunked(REPOSITORY),
        }

    filled(store, 100)
    # The first round fills caches of statements; the second counts.
    for round_ in range(2):
        few = {name: await cost(store, request) for name, request in requests(round_).items()}
    rows(store, "DELETE FROM tags WHERE name LIKE 'tag-%'")
    rows(store, "DELETE FROM manifests WHERE media_type = 'a/b'")
    rows(store, "DELETE FROM uploads")
    rows(store, "DELETE FROM repositories WHERE name LIKE 'many/%'")
    rows(store, "DELETE FROM links WHERE copy_id IN (SELECT id FROM copies WHERE size = 1)")
    rows(store, "DELETE FROM copies WHERE size = 1")
    filled(store, 5000)
    many = {name: await cost(store, request) for name, request in requests(2).items()}
    assert {name: (few[name], many[name]) for name in few if many[name] > 1.5 * few[name]} == {}


# 11


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk on which no sync ends before the event is set."""
    go = threading.Event()
    fsync = os.fsync

    def wait(fd: int) -> None:
        assert go.wait(30)
        fsync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", wait)
        yield go
        go.set()


async def test_no_read_waits_for_a_write(store: Store, stuck: threading.Event) -> None:
    """Every thread that writes is stuck in a sync, and the database's writer in a transaction."""
    assert isinstance(store.database, SQLite)
    stuck.set()
    content = os.urandom(3_000_000)
    manifest = await push_image(store, "latest", layers=[content])
    rows(store, "UPDATE links SET renewed = 0")
    stuck.clear()
    pushes = [asyncio.ensure_future(push_blob(store, os.urandom(LARGE))) for _ in range(2 * directory.WRITERS)]
    while not len(files(store)) >= directory.WRITERS:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    batch = await Batch.begin(store.database)
    began = time.perf_counter()
    assert await read_blob(store, digest_of(content)) == content
    assert (await store.get_tag(REPOSITORY, "latest")).content == manifest
    assert await listed(store.tags(REPOSITORY)) == 1
    assert (await store.resolve_blob(REPOSITORY, digest_of(content))).size == len(content)
    assert (await collect(store, dry_run=True)).counts == {}
    assert time.perf_counter() - began < 1
    assert not any(push.done() for push in pushes)
    stuck.set()
    await batch.commit()
    await asyncio.gather(*pushes)
