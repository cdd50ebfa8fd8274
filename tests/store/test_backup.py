"""A backup is a complete store at each moment, and takes only what is new."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from ociserver.store import Store, StoreError
from ociserver.store.backup import backup
from ociserver.store.check import check
from ociserver.store.collect import Policy, collect
from ociserver.store.folder import BACKUP_MARKER
from ociserver.store.transaction import Transaction
from tests.contract.contents import REPOSITORY, digest_of, push_blob, push_image, read_blob, tags_of
from tests.faults.disk import small_disk

pytestmark = pytest.mark.anyio

SIZE = 100_000
"""Bytes of a blob that has a file."""

AT_ONCE = Policy(grace_s=0, unreferenced_after_s=3600)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backup"


async def layers(store: Store, tag: str, count: int = 3) -> list[bytes]:
    """Push an image with large layers."""
    contents = [os.urandom(SIZE) for _ in range(count)]
    await push_image(store, tag, config=tag.encode(), layers=contents)
    return contents


async def holds(folder: Path, images: dict[str, Sequence[bytes]]) -> None:
    """The folder is a store without faults, which has these images and no others."""
    async with Store(folder) as store:
        checked = await check(store, content=True)
        assert checked.faults == []
        assert await tags_of(store) == sorted(images)
        for contents in images.values():
            for content in contents:
                assert await read_blob(store, digest_of(content)) == content


async def delete(store: Store, tag: str, contents: Sequence[bytes]) -> None:
    await store.delete_manifest(REPOSITORY, (await store.resolve_tag(REPOSITORY, tag)).digest)
    for content in contents:
        await store.delete_blob(REPOSITORY, digest_of(content))


def files(folder: Path) -> dict[str, int]:
    """The files of blobs, each with its inode."""
    return {path.name: path.stat().st_ino for path in (folder / "blobs").glob("??/*")}


def modes_in(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*")}


async def test_a_backup_is_a_store(store: Store, to: Path) -> None:
    one = await layers(store, "one")
    report = await backup(store, to)
    assert (report.files_copied, report.bytes_copied, report.missing) == (3, 3 * SIZE, [])
    await holds(to, {"one": one})


async def test_the_next_one_copies_what_is_new(store: Store, to: Path) -> None:
    one = await layers(store, "one")
    await backup(store, to)
    before = files(to)
    two = await layers(store, "two", 2)
    report = await backup(store, to)
    assert (report.files_copied, report.bytes_copied, report.files_kept) == (2, 2 * SIZE, 3)
    assert before.items() <= files(to).items()
    report = await backup(store, to)
    assert (report.files_copied, report.bytes_copied, report.files_kept) == (0, 0, 5)
    await holds(to, {"one": one, "two": two})


async def test_what_is_gone_goes_with_the_next_one(store: Store, to: Path) -> None:
    one, two = await layers(store, "one"), await layers(store, "two")
    await backup(store, to)
    await delete(store, "one", one)
    await collect(store, AT_ONCE)
    assert len(files(to)) == 6
    assert (await backup(store, to)).files_removed == 3
    assert len(files(to)) == 3
    await holds(to, {"two": two})


async def test_an_upload_is_not_in_it(store: Store, to: Path) -> None:
    writer = await store.push_blob_chunked(REPOSITORY)
    await writer.write(os.urandom(SIZE))
    await writer.aclose()
    await backup(store, to)
    assert files(to) == {}
    async with Store(to) as copy:
        assert await copy.database.read(_uploads()) == 0
    resumed = await store.push_blob_chunked_resume(REPOSITORY, writer.id, offset=SIZE)
    await resumed.cancel()
    await resumed.aclose()


def _uploads() -> Transaction[int]:
    ((count,),) = yield "SELECT COUNT(*) FROM uploads", ()
    return int(count)


async def test_collection_between_database_and_files(store: Store, to: Path) -> None:
    """What it deletes is in the database that was copied. The next moment has it no more."""
    one, two = await layers(store, "one", 8), await layers(store, "two")
    loop = asyncio.get_running_loop()
    is_done = False

    async def delete_one() -> None:
        await delete(store, "one", one)
        assert (await collect(store, AT_ONCE)).counts["unlinked"] >= 8

    def on_progress(done: int, total: int) -> None:
        nonlocal is_done
        if not is_done:
            is_done = True
            assert (done, total) == (1, 11)
            asyncio.run_coroutine_threadsafe(delete_one(), loop).result(30)

    report = await backup(store, to, on_progress=on_progress)
    assert is_done
    assert report.missing == []
    assert len(files(to)) == 3
    await holds(to, {"two": two})


async def test_beside_pushes_deletions_and_collections(store: Store, other: Store, to: Path) -> None:
    """Each backup has what was acknowledged before it and not deleted, and no image without its blobs."""
    kept = await layers(store, "kept")
    is_over = False

    async def churn(number: int) -> int:
        turns = 0
        while not is_over:
            contents = await layers(other, f"tag-{number}", 2)
            await delete(other, f"tag-{number}", contents)
            turns += 1
        return turns

    async def collecting() -> int:
        turns = 0
        while not is_over:
            # A backup that collections have disturbed too often makes them wait.
            with suppress(StoreError):
                await collect(other, AT_ONCE)
                turns += 1
            await asyncio.sleep(0)
        return turns

    work = asyncio.gather(*(churn(number) for number in range(3)), collecting())
    for _ in range(4):
        await backup(store, to)
        async with Store(to) as copy:
            assert (await check(copy, content=True)).faults == []
            assert "kept" in await tags_of(copy)
            for tag in await tags_of(copy):
                manifest = await copy.get_tag(REPOSITORY, tag)
                assert digest_of(manifest.content) == manifest.descriptor.digest
    is_over = True
    assert all(await work)
    await backup(store, to)
    await holds(to, {"kept": kept})


async def test_what_the_store_itself_lacks(store: Store, folder: Path, to: Path) -> None:
    contents = await layers(store, "one", 2)
    lost = next(path for path in (folder / "blobs").glob("??/*") if path.read_bytes() == contents[0])
    lost.unlink()
    report = await backup(store, to)
    assert report.missing == [digest_of(contents[0])]
    async with Store(to) as copy:
        assert await read_blob(copy, digest_of(contents[1])) == contents[1]


POINTS = [
    "backup database copied",
    "backup file written",
    "backup file copied",
    "backup before the database",
    "backup after the database",
]


def killed_at(point: str, folder: Path, to: Path, points: Path) -> None:
    points.mkdir(exist_ok=True)
    (points / "armed").write_text(f"1 {point}")
    done = subprocess.run(
        [sys.executable, "-m", "ociserver", "backup", str(to), "--data", str(folder)],
        env={**os.environ, "OCISERVER_FAILPOINTS": str(points)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_in_the_first_backup(store: Store, folder: Path, to: Path, tmp_path: Path, point: str) -> None:
    one = await layers(store, "one")
    await asyncio.to_thread(killed_at, point, folder, to, tmp_path / "points")
    if point == "backup after the database":
        await holds(to, {"one": one})
    else:
        with pytest.raises(StoreError, match="is a backup that was interrupted"):
            await Store(to).__aenter__()
    report = await backup(store, to)
    assert report.files_copied + report.files_kept == 3
    assert report.files_kept == {POINTS[2]: 1, POINTS[3]: 3, POINTS[4]: 3}.get(point, 0)
    await holds(to, {"one": one})
    assert not (to / ".partial").exists()


@pytest.mark.parametrize("point", [POINTS[0], *POINTS[2:], "backup file removed"])
async def test_a_kill_in_a_later_backup(store: Store, folder: Path, to: Path, tmp_path: Path, point: str) -> None:
    one, two = await layers(store, "one"), await layers(store, "two")
    await backup(store, to)
    await delete(store, "one", one)
    await collect(store, AT_ONCE)
    three = await layers(store, "three")
    await asyncio.to_thread(killed_at, point, folder, to, tmp_path / "points")
    is_new = point in ("backup after the database", "backup file removed")
    await holds(to, {"two": two, "three": three} if is_new else {"one": one, "two": two})
    await backup(store, to)
    await holds(to, {"two": two, "three": three})
    assert len(files(to)) == 6


async def test_a_full_disk_keeps_the_earlier_backup(store: Store, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        one = await layers(store, "one")
        await backup(store, disk.data)
        two = await layers(store, "two")
        disk.fill(leave=4096)
        with pytest.raises(StoreError, match=r"the disk is full. An earlier backup there is unchanged"):
            await backup(store, disk.data)
        # Copied, because a store needs room to be opened.
        shutil.copytree(disk.data, tmp_path / "copy")
        await holds(tmp_path / "copy", {"one": one})
        disk.make_room()
        await backup(store, disk.data)
        await holds(disk.data, {"one": one, "two": two})


async def test_folders_that_are_refused(store: Store, folder: Path, to: Path, tmp_path: Path) -> None:
    await layers(store, "one")
    for inside in (folder, folder / "backup", tmp_path):
        with pytest.raises(StoreError, match="cannot be inside the folder of the store, or around it"):
            await backup(store, inside)
    os.mkdir(to)
    (to / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not a backup, and not empty"):
        await backup(store, to)
    assert os.listdir(to) == ["notes.txt"]
    (to / "notes.txt").unlink()
    await backup(store, to)
    (to / "server.lock").touch()
    with pytest.raises(StoreError, match="has been served: a backup would overwrite what was pushed to it"):
        await backup(store, to)
    (to / "server.lock").unlink()
    (to / BACKUP_MARKER).write_text('{"format": 99}')
    with pytest.raises(StoreError, match="newer ociserver"):
        await backup(store, to)
    async with Store(tmp_path / "another") as another:
        with pytest.raises(StoreError, match="is not a backup"):
            await backup(store, another.path)


async def test_a_new_store_does_not_replace_a_backup(store: Store, to: Path, tmp_path: Path) -> None:
    one = await layers(store, "one")
    await backup(store, to)
    async with Store(tmp_path / "new") as new:
        with pytest.raises(StoreError, match="is a backup of another store"):
            await backup(new, to)
        await push_image(new, "other", config=b"other", layers=[b"first", one[0]])  # with a content of the backup
        with pytest.raises(StoreError, match="is a backup of another store"):
            await backup(new, to)
    assert not [name for name in os.listdir(to) if "new" in name]
    await holds(to, {"one": one})
    two = await layers(store, "two")
    await backup(store, to)
    await holds(to, {"one": one, "two": two})


async def test_only_the_user_can_read_it(store: Store, to: Path) -> None:
    await layers(store, "one")
    os.mkdir(to, 0o755)
    await backup(store, to)
    assert modes_in(to) == {0o700, 0o600}


async def test_a_second_backup_at_the_same_time_is_refused(store: Store, to: Path) -> None:
    await layers(store, "one")
    loop = asyncio.get_running_loop()
    refusals: list[object] = []

    def on_progress(_done: int, _total: int) -> None:
        if not refusals:
            with pytest.raises(StoreError, match="another backup to this folder is running") as caught:
                asyncio.run_coroutine_threadsafe(backup(store, to), loop).result(30)
            refusals.append(caught)

    await backup(store, to, on_progress=on_progress)
    assert refusals


async def test_a_checked_backup_can_be_continued(store: Store, to: Path) -> None:
    """Also one whose log was left by a kill."""
    one = await layers(store, "one")
    await backup(store, to)
    async with Store(to) as copy:
        await push_blob(copy, b"text")
        for name in ("registry.db", "registry.db-wal"):
            shutil.copy(to / name, to / f".{name}")
    for name in ("registry.db", "registry.db-wal"):
        (to / f".{name}").rename(to / name)
    two = await layers(store, "two")
    await backup(store, to)
    assert not (to / "registry.db-wal").exists()
    await holds(to, {"one": one, "two": two})


async def test_a_cancelled_backup_stops(store: Store, to: Path) -> None:
    await layers(store, "one", 5)
    running: asyncio.Future[object]
    loop = asyncio.get_running_loop()

    def on_progress(done: int, _total: int) -> None:
        if done == 1:
            loop.call_soon_threadsafe(running.cancel)
            # The cancellation is noticed before the next file.
            time.sleep(0.2)

    running = asyncio.ensure_future(backup(store, to, on_progress=on_progress))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(files(to)) < 5
    assert not (to / ".registry.db.new").exists()
