"""Locks between processes. Two `Locks` of one folder exclude each other as two processes do."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.compose import Cache
from ociserver.compose.cache.limits import FOLDER
from ociserver.compose.cache.local import Folder
from ociserver.compose.cache.locks import Lock, Locks
from ociserver.compose.cache.notes import Note
from tests.compose.cache.upstream import REPOSITORY, Upstream, until

pytestmark = pytest.mark.anyio

NOTE = Note("coming", 5, "a/b", "library/app", "1").encode()


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[Lock, Lock]]:
    """One name, as two processes see it."""
    one, other = Locks(Folder(tmp_path / "locks")), Locks(Folder(tmp_path / "locks"))
    await one.open()
    await other.open()
    async with asyncio.timeout(20):
        yield one.lock("blob", "a"), other.lock("blob", "a")
    await one.close()
    await other.close()


async def test_one_at_a_time(two: tuple[Lock, Lock], tmp_path: Path) -> None:
    one, other = two
    assert await one.try_hold()
    assert not await other.try_hold()
    waiting = asyncio.ensure_future(other.hold())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    one.release()
    await waiting
    assert not await one.try_hold()
    other.release()
    await until(lambda: not any((tmp_path / "locks").iterdir()))


async def test_a_waiting_process_gets_the_note_and_then_the_end(two: tuple[Lock, Lock]) -> None:
    one, other = two
    await one.hold()
    following = asyncio.ensure_future(other.follow())
    await asyncio.sleep(0.05)
    assert not following.done()
    one.share(NOTE)
    followed = await following
    assert followed
    assert followed.note() == NOTE
    # A process that comes later gets the note at once.
    later = await other.follow()
    assert later
    assert later.note() == NOTE
    later.close()
    assert not await other.try_hold()
    ended = asyncio.ensure_future(followed.ended())
    await asyncio.sleep(0.05)
    assert not ended.done()
    one.tell(NOTE.replace(b"coming", b"whole"))
    one.release()
    await ended
    assert followed.note() == NOTE.replace(b"coming", b"whole")
    followed.close()
    assert await other.try_hold()
    assert other.left == b""
    other.release()


async def test_a_holder_that_ends_without_a_note(two: tuple[Lock, Lock]) -> None:
    one, other = two
    assert await other.follow() is None
    await one.hold()
    following = asyncio.ensure_future(other.follow())
    await asyncio.sleep(0.05)
    one.release()
    assert await following is None


async def test_a_cancelled_waiter_does_not_get_the_lock_later(two: tuple[Lock, Lock]) -> None:
    one, other = two
    await one.hold()
    for wait in (other.hold, other.follow):
        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    one.release()
    await until(one.try_hold)
    one.release()


HOLDER = """
import asyncio, sys
from pathlib import Path
from ociserver.compose.cache.local import Folder
from ociserver.compose.cache.locks import Locks

async def main():
    locks = Locks(Folder(Path(sys.argv[1])))
    await locks.open()
    lock = locks.lock("blob", "a")
    await lock.hold()
    lock.share(sys.argv[2].encode())
    print("held", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_holder_that_is_killed(two: tuple[Lock, Lock], tmp_path: Path) -> None:
    one, other = two
    program = [sys.executable, "-c", HOLDER, str(tmp_path / "locks"), NOTE.decode()]
    process = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    assert await process.stdout.readline() == b"held\n"
    followed = [await lock.follow() for lock in two]
    process.kill()
    for each in followed:
        assert each
        await each.ended()
        each.close()
    await process.wait()
    # The killed holder's lock is free, and still has its note.
    assert await one.try_hold()
    assert Note.decode(one.left) == Note.decode(NOTE)
    assert not await other.try_hold()
    one.release()


async def test_locks_of_killed_holders_are_found(two: tuple[Lock, Lock], tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    (folder / "killed").write_bytes(NOTE)
    (folder / "lost.part").write_bytes(b"spooled")
    await two[0].hold()
    locks = Locks(Folder(folder))
    await locks.open()
    found = {}
    async for lock in locks.abandoned():
        assert lock.spool
        found[lock.spool.name] = lock.left
        lock.spool.unlink(missing_ok=True)
    assert found == {"killed.part": NOTE, "lost.part": b""}
    await locks.close()
    assert len(list(folder.iterdir())) == 1
    two[0].release()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"state":"coming"}', b'{"a":1}', b"\xff"])
def test_a_text_that_is_not_a_note(text: bytes) -> None:
    assert Note.decode(text) is None
    assert Note.decode(NOTE) == Note("coming", 5, "a/b", "library/app", "1")


async def test_without_a_folder_the_lock_is_always_free() -> None:
    locks = Locks(None)
    await locks.open()
    async with locks.hold("a"), locks.hold("a"):
        assert await locks.lock("a").try_hold()
    async for _ in locks.abandoned():
        pytest.fail("there are none")
    await locks.close()


async def test_the_wait_for_a_process_that_hangs_is_bounded(two: tuple[Lock, Lock], tmp_path: Path) -> None:
    one, other = two
    await one.hold()
    locks = Locks(Folder(tmp_path / "locks"))
    await locks.open()
    began = time.monotonic()
    async with locks.hold("blob", "a", wait_s=0.05):
        assert time.monotonic() - began >= 0.05
    assert not await other.try_hold(), "the caller has released a lock that it does not hold"
    one.release()
    await locks.close()


@pytest.mark.parametrize("group_readable", [False, True])
async def test_modes(tmp_path: Path, upstream: Upstream, *, group_readable: bool) -> None:
    await upstream.image(os.urandom(100_000))
    local = Store(tmp_path / "data", lax_child_references=True, group_readable=group_readable)
    before = os.umask(0)
    try:
        async with Cache(upstream, local) as cache:
            await cache.get_tag(REPOSITORY, "latest")
            locks = Locks(Folder(tmp_path / "data" / FOLDER, local.modes))
            await locks.open()
            async with locks.hold("held"):
                found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*")}
            await locks.close()
    finally:
        os.umask(before)
    folder, file = (0o750, 0o640) if group_readable else (0o700, 0o600)
    assert found[FOLDER] == found["blobs"] == folder
    assert {"registry.db", "registry.db-wal", "registry.lock"} <= set(found)
    assert set(found.values()) == {folder, file}
    assert not any((tmp_path / "data" / FOLDER).iterdir())
