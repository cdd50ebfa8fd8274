"""Requests end when their bytes are in the file. The hash continues, in this process or in the next request's."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociserver import OCIError
from ociserver._core import Hasher, hash_range
from ociserver.backlog import wait_until_below
from ociserver.store import Store, upload_file
from ociserver.store.disk import BOOT_SIZE, NO_BOOT
from ociserver.store.hash_cache import MAX_UNFINISHED, HashCache
from ociserver.store.upload import Upload
from ociserver.store.upload_file import STAMP_SIZE, UploadFile
from tests.contract.contents import REPOSITORY, digest_of, read_blob
from tests.contract.errors import refused
from tests.store.full_disk import full_disk
from tests.store.holding import no_hashing
from tests.store.looking import files, rows

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = 200_000, 300_000, 100_000
"""Pieces that are too large to be hashed in the thread that adds them."""

WHOLE = FIRST + SECOND + THIRD


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The parts of files that were read again, to hash them."""
    parts: list[tuple[int, int]] = []

    def noted(fd: int, offset: int, length: int, hasher: Hasher) -> None:
        parts.append((offset, length))
        hash_range(fd, offset, length, hasher)

    monkeypatch.setattr(upload_file, "hash_range", noted)
    return parts


async def resume(store: Store, upload_id: str, offset: int | None = None) -> Upload:
    return await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)


async def append(store: Store, upload_id: str, content: bytes, offset: int | None = None) -> None:
    async with aclosing(await resume(store, upload_id, offset)) as upload:
        await upload.write(content)


async def commit(store: Store, upload_id: str, digest: str) -> None:
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.commit(digest)


async def start(store: Store, content: bytes) -> str:
    """An upload of which the first part is hashed, and the second is not while `no_hashing`."""
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        # From memory to the file, as the file is made: hashed where it is added.
        await upload.write(content[:20_000])
        await upload.write(content[20_000 : FIRST + SECOND])
        return upload.id


HASHED = 20_000
REST = (HASHED, FIRST + SECOND - HASHED)
"""The part of the file that a process without the hash has to read again."""


def recorded(store: Store, upload_id: str) -> tuple[int, int]:
    """The recorded size of an upload, and the bytes that its recorded hash covers."""
    ((size, state),) = rows(store, "SELECT size, state FROM uploads WHERE id = ?", upload_id)
    return size, Hasher.resume(state[BOOT_SIZE:-STAMP_SIZE]).length


def kept(store: Store) -> list[str]:
    return list(store.blob_folder.hashes._entries)


async def test_a_request_ends_before_its_bytes_are_hashed(store: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        assert recorded(store, upload_id) == (FIRST + SECOND, HASHED)
        assert files(store)[upload_id].read_bytes() == content[: FIRST + SECOND]
        assert kept(store) == [upload_id]
        await append(store, upload_id, content[FIRST + SECOND :], FIRST + SECOND)
        # The file says how far it is.
        assert recorded(store, upload_id) == (FIRST + SECOND, HASHED)
        async with aclosing(await resume(store, upload_id)) as upload:
            assert upload.size == WHOLE
    await commit(store, upload_id, digest_of(content))
    assert read == []
    assert await read_blob(store, digest_of(content)) == content
    assert kept(store) == []


async def test_another_process_reads_what_was_not_hashed(
    store: Store, other: Store, read: list[tuple[int, int]]
) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        await append(other, upload_id, content[FIRST + SECOND :], FIRST + SECOND)
        assert read == [REST]
        assert recorded(store, upload_id) == (WHOLE, FIRST + SECOND)
    # This one still has a hash, which is not of all that came.
    await commit(store, upload_id, digest_of(content))
    assert read == [REST, (FIRST + SECOND, THIRD)]
    assert await read_blob(store, digest_of(content)) == content


KILLED = """
import asyncio, os, signal, sys
from ociserver.store import Store
from tests.store.full_disk import full_disk
from tests.store.holding import no_hashing
from tests.store.test_hash_cache import FIRST, SECOND, append, start

async def main():
    async with Store(sys.argv[1]) as store:
        with no_hashing():
            content = sys.stdin.buffer.read()
            upload_id = await start(store, content)
            for end in map(int, sys.argv[2:]):
                await append(store, upload_id, content[FIRST + SECOND : end], FIRST + SECOND)
            print(upload_id, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def killed(folder: Path, content: bytes, *ends: int) -> str:
    """The upload of a process that was killed after it had acknowledged what it had not hashed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, folder, *map(str, ends), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    printed, _ = await process.communicate(content)
    assert process.returncode == -signal.SIGKILL
    return printed.decode().strip()


async def go_on(store: Store, upload_id: str, content: bytes) -> None:
    assert recorded(store, upload_id) == (FIRST + SECOND, HASHED)
    await append(store, upload_id, content[FIRST + SECOND :], FIRST + SECOND)
    await commit(store, upload_id, digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def test_a_process_is_killed_and_started_again(folder: Path, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    upload_id = await killed(folder, content)
    async with Store(folder) as store:
        await go_on(store, upload_id, content)
    assert read[0] == REST


async def test_one_of_two_processes_is_killed(store: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    upload_id = await killed(store.path, content)
    await go_on(store, upload_id, content)
    assert read[0] == REST


async def test_what_is_acknowledged_and_not_recorded_outlives_its_process(
    folder: Path, read: list[tuple[int, int]]
) -> None:
    content = os.urandom(WHOLE)
    upload_id = await killed(folder, content, WHOLE)
    async with Store(folder) as store:
        assert recorded(store, upload_id) == (FIRST + SECOND, HASHED)
        async with aclosing(await resume(store, upload_id)) as upload:
            assert upload.size == WHOLE
        await commit(store, upload_id, digest_of(content))
        assert await read_blob(store, digest_of(content)) == content
    assert read == [(HASHED, WHOLE - HASHED)]


async def test_after_another_boot_all_is_read(store: Store, other: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    other.blob_folder.directory._boot = os.urandom(BOOT_SIZE)
    with no_hashing():
        upload_id = await start(store, content)
        await append(other, upload_id, content[FIRST + SECOND :])
    await commit(other, upload_id, digest_of(content))
    assert read[0] == (0, FIRST + SECOND)


# A hash that is not of what is there


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_what_another_process_has_written_is_not_what_was_kept(
    store: Store, other: Store, *, is_recorded: bool
) -> None:
    """The same number of bytes, and a state with the same hash of the first ones. The other bytes differ."""
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        ((state,),) = rows(store, "SELECT state FROM uploads")
        path = files(store)[upload_id]
        before = path.stat()
        with path.open("r+b") as file:
            file.seek(HASHED)
            file.write(bytes(REST[1]))
        # Each of the two tells by itself.
        if is_recorded:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            rows(store, "UPDATE uploads SET state = ?", state[:-STAMP_SIZE] + os.urandom(STAMP_SIZE))
        else:
            # Later than any write in the same tick of the clock.
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        async with aclosing(await resume(store, upload_id)) as upload:
            with refused("DIGEST_INVALID"):
                await upload.commit(digest_of(content[: FIRST + SECOND]))
    await commit(other, upload_id, digest_of(content[:HASHED] + bytes(REST[1])))


async def test_no_state_is_like_another(store: Store) -> None:
    """Not even of the same bytes: else it would not say that nobody has recorded anything since."""
    content = os.urandom(WHOLE)
    with no_hashing():
        for _ in range(3):
            await start(store, content)
    states = [state for (state,) in rows(store, "SELECT state FROM uploads")]
    assert len({state[:-STAMP_SIZE] for state in states}) == 1
    assert len(set(states)) == 3


async def test_bytes_go_while_they_are_hashed(store: Store) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        os.truncate(files(store)[upload_id], FIRST)
        async with aclosing(await resume(store, upload_id)) as upload:
            assert upload.size == FIRST
            with refused("DIGEST_INVALID"):
                await upload.commit(digest_of(content[: FIRST + SECOND]))
        assert kept(store) == []
    assert rows(store, "SELECT size, state FROM uploads") == [(FIRST, NO_BOOT)]
    await append(store, upload_id, content[FIRST:], FIRST)
    await commit(store, upload_id, digest_of(content))


async def test_a_piece_that_could_not_be_written_is_not_vouched_for(store: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        upload = await resume(store, upload_id)
        await upload.write(content[FIRST + SECOND :][:1])
        sink = await upload.open_sink()
        assert isinstance(sink, UploadFile)
        await sink.written()
        with full_disk(store):
            sink.add(content[FIRST + SECOND + 1 :])
            await sink.written()
        with pytest.raises(OCIError, match="disk is full"):
            await upload.aclose()
        assert kept(store) == []
    assert recorded(store, upload_id) == (FIRST + SECOND, HASHED)
    assert read == []
    await append(store, upload_id, content[FIRST + SECOND :], FIRST + SECOND)
    assert read == [REST]
    await commit(store, upload_id, digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize("is_same", [True, False])
async def test_what_a_request_that_was_broken_off_records_late(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch, *, is_same: bool, commits: bool
) -> None:
    """Nobody writes other bytes into the file as long as it may still be recorded what is in it."""
    content, begun = os.urandom(WHOLE), asyncio.Event()
    upload_id = await start(store, content if commits else content[: FIRST + SECOND])
    store.blob_folder.hashes.drop(upload_id)  # as then there is something to record
    if commits:
        await append(store, upload_id, content[FIRST + SECOND :])
    write = store.database.write

    async def noted(*args: Any, **options: Any) -> Any:
        begun.set()
        return await write(*args, **options)

    async def end() -> None:
        await (commit(store, upload_id, digest_of(content)) if commits else append(store, upload_id, content[-THIRD:]))

    monkeypatch.setattr(store.database, "write", noted)
    with locked_database(store):
        ending = asyncio.ensure_future(end())
        await begun.wait()
        for _ in range(3):
            ending.cancel()
            await asyncio.sleep(0)
        late = await resume(store if is_same else other, upload_id)
        with refused("RANGE_INVALID"):
            await late.write(os.urandom(THIRD))
        await late.aclose()
    with pytest.raises(asyncio.CancelledError):
        await ending
    if not commits:
        await commit(store, upload_id, digest_of(content))
    assert await read_blob(store, digest_of(content)) == content
    assert store.uploads.claimed == set()


@contextmanager
def locked_database(store: Store) -> Iterator[None]:
    """A writer waits."""
    fd = os.open(store.path / "registry.lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


# However a request ends


async def test_asking_how_far_it_is_leaves_the_hash(store: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        async with aclosing(await resume(store, upload_id)) as upload:
            assert upload.size == FIRST + SECOND
        assert kept(store) == [upload_id]
    await append(store, upload_id, content[FIRST + SECOND :])
    await commit(store, upload_id, digest_of(content))
    assert read == []


async def test_a_wrong_offset(store: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        with refused("RANGE_INVALID"):
            await append(store, upload_id, b"x", 1)
        assert kept(store) == [upload_id]
        assert recorded(store, upload_id) == (FIRST + SECOND, HASHED)
    await append(store, upload_id, content[FIRST + SECOND :])
    await commit(store, upload_id, digest_of(content))
    assert read == []


async def test_a_wrong_digest(store: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        await append(store, upload_id, content[FIRST + SECOND :])
    with refused("DIGEST_INVALID"):
        await commit(store, upload_id, digest_of(b""))
    await commit(store, upload_id, digest_of(content))
    assert read == []
    assert await read_blob(store, digest_of(content)) == content


async def test_another_algorithm(store: Store, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        await append(store, upload_id, content[FIRST + SECOND :])
        await commit(store, upload_id, digest_of(content, "sha512"))
    assert read == [(0, WHOLE)]
    assert await read_blob(store, digest_of(content, "sha512")) == content


async def test_an_upload_that_is_cancelled_is_forgotten(store: Store) -> None:
    with no_hashing():
        upload_id = await start(store, os.urandom(WHOLE))
        async with aclosing(await resume(store, upload_id)) as upload:
            await upload.cancel()
        assert kept(store) == []
    assert files(store) == {}


async def test_a_request_that_is_broken_off_while_it_records(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request gets all bytes in the file, recorded or not."""
    content = os.urandom(WHOLE)
    with no_hashing():
        upload_id = await start(store, content)
        store.blob_folder.hashes.drop(upload_id)  # then it records the state, for the next request
        upload = await resume(store, upload_id)
        await upload.write(content[FIRST + SECOND :])
        begun = asyncio.Event()

        async def never(*_: object, **__: object) -> None:
            begun.set()
            await asyncio.get_running_loop().create_future()

        with monkeypatch.context() as patch:
            patch.setattr(store.database, "write", never)
            ending = asyncio.ensure_future(upload.aclose())
            await begun.wait()
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)
        async with aclosing(await resume(store, upload_id)) as upload:
            assert upload.size == WHOLE
    await commit(store, upload_id, digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def test_a_store_is_closed_while_it_hashes(folder: Path, read: list[tuple[int, int]]) -> None:
    content = os.urandom(WHOLE)
    with no_hashing():
        async with Store(folder) as store:
            upload_id = await start(store, content)
        assert kept(store) == []
    async with Store(folder) as store:
        await go_on(store, upload_id, content)
    assert read[0] == REST


# Bounds


async def test_with_many_at_work_a_request_waits_for_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = asyncio.Event()
    has_room = store.blob_folder.hashes.has_room

    def noted() -> bool:
        if not has_room():
            refusals.set()
        return not refusals.is_set()

    monkeypatch.setattr(store.blob_folder.hashes, "has_room", noted)
    contents = [os.urandom(WHOLE) for _ in range(MAX_UNFINISHED + 1)]
    with no_hashing():
        uploads = [await start(store, content) for content in contents[:-1]]
        last = asyncio.ensure_future(start(store, contents[-1]))
        await refusals.wait()
        assert kept(store) == uploads
        assert not last.done()
    uploads.append(await last)
    assert [recorded(store, upload_id)[1] for upload_id in uploads] == [HASHED] * MAX_UNFINISHED + [FIRST + SECOND]
    for upload_id, content in zip(uploads, contents, strict=True):
        await append(store, upload_id, content[FIRST + SECOND :])
        await commit(store, upload_id, digest_of(content))
    assert kept(store) == []


async def test_those_that_are_done_are_kept_beside(store: Store, read: list[tuple[int, int]]) -> None:
    contents = [os.urandom(WHOLE) for _ in range(MAX_UNFINISHED + 1)]
    with no_hashing():
        uploads = [await start(store, content) for content in contents[:-1]]
    for _, hashing in list(store.blob_folder.hashes._entries.values()):
        await wait_until_below(hashing, 0)
    with no_hashing():
        uploads.append(await start(store, contents[-1]))
        assert kept(store) == uploads
    for upload_id, content in zip(uploads, contents, strict=True):
        await commit(store, upload_id, digest_of(content[: FIRST + SECOND]))
    assert read == []


async def test_of_many_the_first_is_forgotten(store: Store, read: list[tuple[int, int]]) -> None:
    store.blob_folder.hashes = HashCache(max_entries=2)
    contents = [os.urandom(WHOLE) for _ in range(3)]
    with no_hashing():
        uploads = [await start(store, content) for content in contents]
    assert kept(store) == uploads[1:]
    for upload_id, content in zip(uploads, contents, strict=True):
        await commit(store, upload_id, digest_of(content[: FIRST + SECOND]))
    assert read == [REST]


async def test_what_would_be_long_to_read_again_is_recorded(store: Store) -> None:
    store.blob_folder.record_every = 2 * THIRD
    content = os.urandom(WHOLE)
    upload_id = await start(store, content)
    for end, size in (
        (FIRST + SECOND + THIRD // 2, FIRST + SECOND),
        (WHOLE, FIRST + SECOND),
        (WHOLE + THIRD, WHOLE + THIRD),
        (WHOLE + 2 * THIRD, WHOLE + THIRD),
    ):
        content = (content + os.urandom(THIRD))[:end] if len(content) < end else content
        async with aclosing(await resume(store, upload_id)) as upload:
            await upload.write(content[upload.size : end])
        assert recorded(store, upload_id)[0] == size
    await commit(store, upload_id, digest_of(content))


async def test_an_upload_that_was_ended_meanwhile(store: Store, other: Store) -> None:
    """The request fails, although there is nothing to record."""
    content = os.urandom(WHOLE)
    upload_id = await start(store, content)
    upload = await resume(store, upload_id)
    await upload.write(content[FIRST + SECOND :])
    async with aclosing(await resume(other, upload_id)) as ending:
        await ending.cancel()
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await upload.aclose()
    assert files(store) == {}
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, upload_id)
