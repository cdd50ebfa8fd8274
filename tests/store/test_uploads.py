"""Uploads of the store: several processes, restarts, power cuts and other interruptions."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociserver import UNKNOWN_SIZE, Descriptor, OCIError
from ociserver._core import Appender, BackgroundHasher, Hasher, hash_range
from ociserver.backlog import wait_until_called
from ociserver.interface import OpenSink
from ociserver.store import Store, directory, upload_file
from ociserver.store.disk import NO_BOOT
from ociserver.store.sqlite import SQLite
from ociserver.store.upload import INLINE_SIZE, Upload
from ociserver.store.upload_file import MOST_OF_FEW, STAMP_SIZE, UploadFile
from tests.contract.contents import BINARY, REPOSITORY, digest_of, push_blob, read_blob
from tests.contract.errors import refused
from tests.store.full_disk import full_disk
from tests.store.looking import file_of, files, open_files, rows

pytestmark = pytest.mark.anyio

LARGE = 3 * INLINE_SIZE

THREADS = 16
"""That write: `WRITING` of the core."""


async def start(store: Store, content: bytes = b"") -> str:
    """An upload that has these bytes, and that nobody is writing to."""
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.write(content)
        return upload.id


async def resume(store: Store, upload_id: str, offset: int | None = None) -> Upload:
    return await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)


async def finish(store: Store, upload_id: str, rest: bytes, digest: str) -> None:
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(rest)
        await upload.commit(digest)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that each repeated read of a file has read."""
    lengths: list[int] = []

    def counted(fd: int, offset: int, length: int, hasher: Hasher) -> None:
        if length:
            lengths.append(length)
        hash_range(fd, offset, length, hasher)

    monkeypatch.setattr(upload_file, "hash_range", counted)
    return lengths


# Where the bytes are


async def test_a_small_blob_never_touches_a_file(store: Store) -> None:
    content = os.urandom(INLINE_SIZE)
    await push_blob(store, content)
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.write(b"posted, ")
        assert files(store) == {}
        await upload.write(b"then put")
        await upload.commit(digest_of(b"posted, then put"))
    assert files(store) == {}
    assert await read_blob(store, digest_of(content)) == content


async def test_a_larger_one_is_in_the_file_that_its_upload_wrote(store: Store) -> None:
    content = os.urandom(INLINE_SIZE + 1)
    upload_id = await start(store, content)
    (path,) = files(store).values()
    inode = path.stat().st_ino
    await finish(store, upload_id, b"", digest_of(content))
    assert file_of(store, digest_of(content)) == path
    assert path.stat().st_ino == inode
    assert path.read_bytes() == content


async def test_what_is_there_already_is_kept_once(store: Store) -> None:
    content = os.urandom(LARGE)
    await push_blob(store, content)
    before = files(store)
    await push_blob(store, content)
    await push_blob(store, content, "elsewhere")
    await finish(store, await start(store, content), b"", digest_of(content))
    assert files(store) == before


async def test_small_writes_share_their_size(store: Store) -> None:
    """A byte at a time, across the size from which there is a file."""
    content = os.urandom(INLINE_SIZE + 50)
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.write(content[: INLINE_SIZE - 50])
        for at in range(INLINE_SIZE - 50, len(content)):
            await upload.write(content[at : at + 1])
            assert upload.size == at + 1
        await upload.commit(digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


# Any process goes on with any upload


async def test_another_process_goes_on_without_reading_again(store: Store, other: Store, hashed: list[int]) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    async with aclosing(await resume(other, upload_id, 20_000)) as upload:
        await upload.write(content[20_000:30_000])
    async with aclosing(await resume(store, upload_id, 30_000)) as upload:
        await upload.write(content[30_000:])
        await upload.commit(digest_of(content))
    assert sum(hashed) == 0
    assert await read_blob(other, digest_of(content)) == content


async def test_after_another_boot_it_is_read_again(store: Store, other: Store, hashed: list[int]) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    other.blob_folder.directory._boot = os.urandom(16)
    await finish(other, upload_id, content[20_000:], digest_of(content))
    assert hashed == [20_000]


async def test_where_boots_have_no_name_it_is_read_again(store: Store, other: Store, hashed: list[int]) -> None:
    content = os.urandom(LARGE)
    store.blob_folder.directory._boot = other.blob_folder.directory._boot = NO_BOOT
    upload_id = await start(store, content[:20_000])
    await finish(other, upload_id, content[20_000:], digest_of(content))
    assert hashed == [20_000]


@pytest.mark.parametrize(
    "state",
    [b"", b"short", NO_BOOT, None],
    ids=["empty", "short", "no boot", "of another version"],
)
async def test_a_state_that_means_nothing(store: Store, hashed: list[int], state: bytes | None) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    rows(
        store,
        "UPDATE uploads SET state = ?",
        store.blob_folder.directory.boot + b"\xff" * 50 if state is None else state,
    )
    await finish(store, upload_id, content[20_000:], digest_of(content))
    assert hashed == [20_000]


@pytest.mark.parametrize("algorithm, size", [("sha256", 20_001), ("sha512", 20_000)])
async def test_a_state_of_other_bytes_is_not_taken(store: Store, hashed: list[int], algorithm: str, size: int) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    hasher = Hasher(algorithm)
    hasher.update(content[:size])
    rows(store, "UPDATE uploads SET state = ?", store.blob_folder.directory.boot + hasher.save() + bytes(STAMP_SIZE))
    await finish(store, upload_id, content[20_000:], digest_of(content))
    assert hashed == [20_000]


async def test_a_state_of_fewer_bytes_needs_the_others(store: Store, hashed: list[int]) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    hasher = Hasher()
    hasher.update(content[:12_345])
    rows(store, "UPDATE uploads SET state = ?", store.blob_folder.directory.boot + hasher.save() + bytes(STAMP_SIZE))
    await finish(store, upload_id, content[20_000:], digest_of(content))
    assert hashed == [20_000 - 12_345]


async def test_a_state_of_a_version_that_stamped_none(store: Store, hashed: list[int]) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    hasher = Hasher()
    hasher.update(content[:20_000])
    rows(store, "UPDATE uploads SET state = ?", store.blob_folder.directory.boot + hasher.save())
    await finish(store, upload_id, content[20_000:], digest_of(content))
    assert hashed == [20_000]


async def test_bytes_that_a_power_cut_took_are_not_vouched_for(store: Store) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    os.truncate(store.blob_folder.path(upload_id), 12_345)
    async with aclosing(await resume(store, upload_id)) as upload:
        assert upload.size == 12_345
    async with aclosing(await resume(store, upload_id, 20_000)) as upload:
        with refused("RANGE_INVALID"):
            await upload.write(content[20_000:])
    # An empty closing PUT is checked against what there is, and not against what was recorded.
    async with aclosing(await resume(store, upload_id)) as upload:
        with refused("DIGEST_INVALID"):
            await upload.commit(digest_of(content[:20_000]))
    await finish(store, upload_id, content[12_345:], digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def test_bytes_that_became_others_are_found_after_a_boot(store: Store, other: Store) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    with store.blob_folder.path(upload_id).open("r+b") as file:
        file.write(bytes(4096))
    other.blob_folder.directory._boot = os.urandom(16)
    async with aclosing(await resume(other, upload_id)) as upload:
        with refused("DIGEST_INVALID"):
            await upload.commit(digest_of(content))
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest_of(content))


async def test_a_file_that_is_gone(store: Store) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    store.blob_folder.path(upload_id).unlink()
    async with aclosing(await resume(store, upload_id)) as upload:
        assert upload.size == 0
    await finish(store, upload_id, content, digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def test_bytes_that_go_while_they_are_written(store: Store) -> None:
    content = os.urandom(LARGE)
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.write(content)
        while files(store)[upload.id].stat().st_size < LARGE:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.001)
        os.truncate(store.blob_folder.path(upload.id), 10)
        with refused("BLOB_UPLOAD_INVALID"):
            await upload.commit(digest_of(content))
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest_of(content))


async def test_what_was_never_acknowledged_counts(store: Store, other: Store) -> None:
    """A process that dies leaves bytes behind the end that it had recorded: the client has sent them, and goes on."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    await write_and_be_killed(other, upload_id, 20_000, content[20_000:40_000])
    assert rows(store, "SELECT size FROM uploads") == [(20_000,)]
    async with aclosing(await resume(store, upload_id)) as upload:
        assert upload.size == 40_000
    async with aclosing(await resume(store, upload_id, 20_000)) as upload:
        with refused("RANGE_INVALID"):
            await upload.write(content[20_000:])
    await finish(store, upload_id, content[40_000:], digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def test_a_file_without_a_record(store: Store) -> None:
    """The process died before the first PATCH ended: there is a file, and the row counts nothing."""
    upload_id = await start(store)
    store.blob_folder.path(upload_id).write_bytes(b"never acknowledged")
    await finish(store, upload_id, b"small", digest_of(b"small"))
    assert await read_blob(store, digest_of(b"small")) == b"small"
    assert set(files(store)) <= {upload_id}


# One writer at a time, whatever the process


async def test_a_writer_in_another_process_is_refused(store: Store, other: Store) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    async with aclosing(await resume(store, upload_id)) as first, aclosing(await resume(other, upload_id)) as second:
        await first.write(b"first")
        with refused("RANGE_INVALID"):
            await second.write(b"second")
        with refused("RANGE_INVALID"):
            await second.commit(digest_of(content))
        await first.commit(digest_of(content + b"first"))
    assert await read_blob(other, digest_of(content + b"first")) == content + b"first"


@pytest.mark.parametrize("before", [b"", b"before"])
async def test_few_bytes_are_appended_without_a_read(store: Store, before: bytes) -> None:
    """As long as no other process commits, this one knows the row that it has recorded."""
    assert isinstance(store.database, SQLite)
    assert store.database._reader is not None
    await push_blob(store, b"Only after its first commit, a process knows whether others have committed.")
    reads: list[str] = []
    upload_id = await start(store, before)
    store.database._reader.set_trace_callback(reads.append)
    for piece in (b"one", b"two"):
        async with aclosing(await resume(store, upload_id)) as upload:
            assert upload.size == len(before)
            await upload.write(piece)
            before += piece
    assert reads == []
    await finish(store, upload_id, b"!", digest_of(before + b"!"))


async def test_another_process_appends_in_between(store: Store, other: Store) -> None:
    upload_id = await start(store, b"one")
    for continued, piece in ((other, b" two"), (store, b" three"), (other, b" four"), (store, b" five")):
        async with aclosing(await resume(continued, upload_id)) as upload:
            await upload.write(piece)
    await finish(other, upload_id, b"!", digest_of(b"one two three four five!"))


async def test_another_process_appends_while_the_store_is_closed(tmp_path: Path) -> None:
    async with Store(tmp_path / "data") as first, Store(tmp_path / "data") as other:
        await push_blob(first, b"first")
        upload_id = await start(first, b"one")
        await first.__aexit__(None, None, None)
        async with aclosing(await resume(other, upload_id)) as upload:
            await upload.write(b" two")
        await first.__aenter__()
        await push_blob(first, b"second")
        async with aclosing(await resume(first, upload_id)) as upload:
            assert upload.size == len(b"one two")


async def test_an_upload_that_is_cancelled_while_it_is_recorded_is_not_remembered(store: Store) -> None:
    await push_blob(store, b"first")
    upload_id = await start(store)
    writing, cancelling = await resume(store, upload_id), await resume(store, upload_id)
    await writing.write(b"bytes")
    recording = asyncio.ensure_future(writing.aclose())
    await asyncio.sleep(0)
    await cancelling.cancel()
    await recording
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, upload_id)


@pytest.mark.parametrize("of_another", [False, True])
async def test_the_repository_of_an_upload_is_deleted(store: Store, other: Store, *, of_another: bool) -> None:
    upload_id = await start(store, b"bytes")
    await (other if of_another else store).delete_repository(REPOSITORY)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, upload_id)


@pytest.mark.parametrize("before", [b"", b"before"])
async def test_two_processes_with_a_few_bytes_each(store: Store, other: Store, before: bytes) -> None:
    """Neither has a file yet, so neither sees the other. The one that records first wins; the other is refused."""
    upload_id = await start(store, before)
    first, second = await resume(store, upload_id), await resume(other, upload_id)
    await first.write(b"first")
    await second.write(b"second")
    await second.aclose()
    with refused("RANGE_INVALID"):
        await first.aclose()
    await finish(store, upload_id, b"!", digest_of(before + b"second!"))


@pytest.mark.parametrize("offset", [6, None], ids=["says where", "appends"])
async def test_few_bytes_do_not_end_what_goes_to_a_file(store: Store, other: Store, offset: int | None) -> None:
    """For example, a request has stalled, and the client has sent it again to another process, which has the lock."""
    upload_id = await start(store, b"before")
    stalled, again = await resume(store, upload_id, offset), await resume(other, upload_id, 6)
    content = os.urandom(LARGE)
    await again.write(content)
    with refused("RANGE_INVALID"):
        async with aclosing(stalled):
            await stalled.write(content[:10])
    await again.aclose()
    await finish(store, upload_id, b"!", digest_of(b"before" + content + b"!"))


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("offset", [6, None], ids=["says where", "appends"])
async def test_nor_does_what_was_refused(store: Store, other: Store, offset: int | None, pieces: int) -> None:
    """A request that was refused because another one is writing records nothing when it ends."""
    upload_id = await start(store, b"before")
    stalled, again = await resume(store, upload_id, offset), await resume(other, upload_id, 6)
    content = os.urandom(LARGE)
    if pieces == 2:
        await stalled.write(content[:10])
    await again.write(content)
    with refused("RANGE_INVALID"):
        await stalled.write(content)
    await stalled.aclose()
    await again.aclose()
    await finish(store, upload_id, b"!", digest_of(b"before" + content + b"!"))


async def test_two_processes_of_which_one_goes_to_a_file(store: Store, other: Store) -> None:
    """It has the lock on a file that did not exist when the other one looked. The one that records first wins."""
    upload_id = await start(store, b"before")
    first, second, third = [await resume(which, upload_id) for which in (store, other, other)]
    await first.write(b"first")
    await second.write(os.urandom(LARGE))
    await first.aclose()
    with refused("RANGE_INVALID"):
        await second.aclose()
    # The row has all bytes. Those in the file are dropped when a request needs a file.
    more = os.urandom(LARGE)
    await third.write(more)
    await third.aclose()
    await finish(store, upload_id, b"!", digest_of(b"beforefirst" + more + b"!"))


async def test_two_processes_of_which_one_commits(store: Store, other: Store) -> None:
    upload_id = await start(store)
    first, second = await resume(store, upload_id), await resume(other, upload_id)
    await first.write(b"first")
    await second.write(b"second")
    await second.aclose()
    with refused("RANGE_INVALID"):
        await first.commit(digest_of(b"first"))
    await first.aclose()
    first, second = await resume(store, upload_id), await resume(other, upload_id)
    await first.commit(digest_of(b"second"))
    # A few bytes are refused by the transaction that would record them.
    await second.write(b"late")
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await second.aclose()
    await first.aclose()


async def test_the_lock_ends_with_its_holder(store: Store, other: Store) -> None:
    upload_id = await start(store, os.urandom(LARGE))
    writing = await resume(store, upload_id)
    await writing.write(b"x")
    assert other.blobs.is_held(upload_id)
    await writing.aclose()
    assert not other.blobs.is_held(upload_id)
    assert not other.blobs.is_held("0" * 32)


async def test_a_thread_that_is_writing_has_the_file_until_it_has_done(folder: Path) -> None:
    """Otherwise its number could belong to another file. `Store.close` waits for the thread."""
    is_open = False
    for _ in range(20):
        async with Store(folder) as store:
            upload_id = await start(store, os.urandom(LARGE))
            upload = await resume(store, upload_id)
            await upload.write(b"x")
            sink = await upload.open_sink()
            assert sink
            sink.add(bytes(50_000_000))
            await wait_for_file(store, upload_id, LARGE + 2)
            upload._end()
            # Its number, and not its lock, which the system keeps to the end of a write. None if that was quicker.
            is_open = open_files(folder) != {}
        assert open_files(folder) == {}
        if is_open:
            break
    assert is_open


# An upload that has ended never takes a blob with it


@pytest.mark.parametrize("size", [10, LARGE])
async def test_a_late_writer_leaves_the_blob(store: Store, other: Store, size: int) -> None:
    """It was opened before the commit, and writes after it: the upload's file is the blob's now."""
    content = os.urandom(size)
    upload_id = await start(store, content)
    late = [await resume(which, upload_id) for which in (store, store, store, other, other, other)]
    await finish(store, upload_id, b"", digest_of(content))
    for upload, act in zip(late, (write_more, commit_again, cancel, write_more, commit_again, cancel), strict=True):
        await act(upload, digest_of(content))
        await upload.aclose()
        assert await read_blob(store, digest_of(content)) == content


async def write_more(upload: Upload, digest: str) -> None:
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await upload.write(os.urandom(LARGE))


async def commit_again(upload: Upload, digest: str) -> None:
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await upload.commit(digest)


async def cancel(upload: Upload, digest: str) -> None:
    await upload.cancel()


@pytest.mark.parametrize("turns", [*range(25), 40, 60, 100])
async def test_a_push_that_is_broken_off_anywhere(store: Store, turns: int) -> None:
    """A blob is linked as a whole or not at all. No descriptor and no lock stays."""
    content = os.urandom(LARGE)
    digest = digest_of(content)

    async def chunks() -> AsyncIterator[bytes]:
        yield content[: LARGE // 2]
        yield content[LARGE // 2 :]

    task = asyncio.ensure_future(store.push_blob(REPOSITORY, Descriptor(BINARY, digest, UNKNOWN_SIZE), chunks()))
    for _ in range(turns):
        await asyncio.sleep(0.0002 if turns > 25 else 0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if rows(store, "SELECT 1 FROM links"):
        assert await read_blob(store, digest) == content
    else:
        assert files(store) == {}
    await closed(store)
    assert store.uploads.claimed == set()
    await push_blob(store, content)
    assert await read_blob(store, digest) == content


async def test_a_push_that_is_broken_off_while_its_file_is_made(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is deleted when it is there, and not before."""
    locked, begun = directory._locked, threading.Event()

    def slowly(path: str, flags: int, mode: int) -> int:
        begun.set()
        if flags:
            time.sleep(0.05)
        return locked(path, flags, mode)

    monkeypatch.setattr(directory, "_locked", slowly)
    task = asyncio.ensure_future(push_blob(store, os.urandom(LARGE)))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.1)
    assert files(store) == {}


async def test_a_writer_that_is_cancelled_while_it_takes_hold(store: Store) -> None:
    """The thread that was using the file then releases it, and the next writer gets it."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    for turns in range(8):
        upload = await resume(store, upload_id)
        task = asyncio.ensure_future(upload.write(b"x"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await upload.aclose()
        await closed(store)
        assert not store.blobs.is_held(upload_id)
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.commit(digest_of(content + b"x" * (upload.size - len(content))))


# The disk fails


@contextmanager
def busy_disk(folder: Path) -> Iterator[None]:
    """All threads that write have work for a while, and a line of more before them."""
    done = threading.Semaphore(0)
    busy = 2 * THREADS
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"busy-{number}").open("wb")) for number in range(busy)]
        for file in files:
            appender = Appender(file.fileno(), 0, BackgroundHasher(), early_writeback=False)
            appender.add(bytes(4_000_000))
            appender.when_left(0, done.release)
        yield
        for _ in files:
            assert done.acquire(timeout=60)


def failing(error: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(error, os.strerror(error))

    return fail


async def write_on(upload: Upload) -> None:
    # More than may be under way.
    await upload.write(bytes(2 * MOST_OF_FEW))


async def write_and(then: Callable[[Upload], Awaitable[None]], upload: Upload, *pieces: bytes) -> None:
    for piece in pieces:
        await upload.write(piece)
    await then(upload)


async def commit_it(upload: Upload) -> None:
    await upload.commit(digest_of(b""))


@pytest.mark.parametrize("then", [write_on, commit_it])
async def test_a_write_that_fails_keeps_nothing_of_itself(
    store: Store, tmp_path: Path, then: Callable[[Upload], Awaitable[None]]
) -> None:
    """A write mostly fails after it has returned. The next call raises the error. Nothing of the request stays."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:20_000])
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(content[20_000:21_000])
        await wait_for_file(store, upload_id, 21_000)
        with (
            full_disk(store),
            busy_disk(tmp_path),
            pytest.raises(OCIError, match="disk is full") as caught,
        ):
            await write_and(then, upload, content[21_000:])
        assert caught.value.status == 507
        assert upload.size == 21_000
        assert files(store)[upload_id].stat().st_size == 21_000
    assert files(store)[upload_id].stat().st_size == 20_000
    await finish(store, upload_id, content[20_000:], digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def fail_at_the_end(store: Store, folder: Path, content: bytes) -> str:
    """A request whose last piece cannot be written, and whose 21,000 bytes cannot be truncated: it is a device."""
    upload_id = await start(store, content[:20_000])
    upload = await resume(store, upload_id)
    await upload.write(content[20_000:21_000])
    await wait_for_file(store, upload_id, 21_000)
    with full_disk(store), busy_disk(folder), pytest.raises(OCIError, match="disk is full"):
        async with aclosing(upload):
            await upload.write(content[21_000:])
    return upload_id


async def test_a_push_that_is_too_short_as_the_disk_is_full(store: Store) -> None:
    """Pieces that bypass the event loop are lost at first without an error. The client has not sent too little."""
    full = ExitStack()

    class Body:
        left = 2

        def __aiter__(self) -> Body:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            self.left -= 1
            return bytes(LARGE)

        async def give(self, open_sink: OpenSink) -> None:
            sink = await open_sink()
            assert sink
            full.enter_context(full_disk(store))
            assert sink.add(bytes(LARGE))
            await wait_until_called(sink.when_kept)
            assert sink.add(bytes(LARGE)) is None

    with full, pytest.raises(OCIError, match="disk is full") as caught:
        await store.push_blob(REPOSITORY, Descriptor(BINARY, digest_of(b"any"), 100 * LARGE), Body())
    assert caught.value.status == 507


async def test_what_counts_after_a_failure_is_what_is_there(store: Store, tmp_path: Path) -> None:
    upload_id = await fail_at_the_end(store, tmp_path, os.urandom(LARGE))
    assert files(store)[upload_id].stat().st_size == 21_000
    async with aclosing(await resume(store, upload_id)) as upload:
        assert upload.size == 21_000


async def test_a_hash_never_vouches_for_other_bytes_after_a_failure(store: Store, other: Store, tmp_path: Path) -> None:
    """The bytes of the failed piece were hashed. Other bytes replace them, and their process is killed."""
    content = os.urandom(LARGE)
    upload_id = await fail_at_the_end(store, tmp_path, content)
    others = bytes(LARGE - 21_000)
    await write_and_be_killed(other, upload_id, 21_000, others)
    with refused("DIGEST_INVALID"):
        await finish(store, upload_id, b"", digest_of(content))
    await finish(store, upload_id, b"", digest_of(content[:21_000] + others))


async def test_a_hash_never_vouches_for_what_comes_after_clearing(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes were removed, which could not be recorded. Other bytes replace them."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(b"x")
        with monkeypatch.context() as patch:
            patch.setattr(store.database, "write", full_database)
            with refused("UNKNOWN"):
                await upload.cancel()
    await write_and_be_killed(other, upload_id, 0, bytes(LARGE))
    async with aclosing(await resume(store, upload_id)) as upload:
        with refused("DIGEST_INVALID"):
            await upload.commit(digest_of(content))


async def write_and_be_killed(store: Store, upload_id: str, offset: int, data: bytes) -> None:
    """The state after a process was killed when the bytes were in the file, but not recorded."""
    upload = await resume(store, upload_id, offset)
    await upload.write(data)
    await wait_for_file(store, upload_id, offset + len(data))
    upload._end()


async def full_database(*_: Any, **__: Any) -> None:
    raise OCIError("UNKNOWN", "full", status=507)


async def test_nothing_is_written_behind_a_piece_that_failed(store: Store, tmp_path: Path) -> None:
    """There would be a hole in the file."""
    content = os.urandom(2 * LARGE)
    upload_id = await start(store, content[:LARGE])
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(content[LARGE : LARGE + 1000])
        await wait_for_file(store, upload_id, LARGE + 1000)
        with full_disk(store), busy_disk(tmp_path), pytest.raises(OCIError, match="disk is full"):
            await write_and(commit_it, upload, content[LARGE + 1000 : -1000], content[-1000:])
        assert upload.size == files(store)[upload_id].stat().st_size == LARGE + 1000
        # Once told, the upload goes on where the file ends.
        await upload.write(content[LARGE + 1000 :])
        await upload.commit(digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def test_what_waits_is_written_before_a_request_ends(store: Store) -> None:
    """Also if the request is cancelled while it waits for the backlog: the pieces that it has given are counted."""
    content = os.urandom(40_000_000)
    upload_id = await start(store, content[:LARGE])
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(content[LARGE : 2 * LARGE])
        behind = asyncio.ensure_future(upload.write(content[2 * LARGE :]))
        await asyncio.sleep(0)
        assert not behind.done()
        behind.cancel()
        await asyncio.gather(behind, return_exceptions=True)
    assert files(store)[upload_id].stat().st_size == len(content)
    await finish(store, upload_id, b"", digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def test_few_bytes_are_in_the_row_between_requests(store: Store, other: Store) -> None:
    upload_id = await start(store, b"x" * 500)
    for which in (store, other, store):
        upload = await resume(which, upload_id, offset=(await resume(store, upload_id)).size)
        await upload.write(b"y" * 5)
        await upload.aclose()
    assert files(store) == {}
    await finish(other, upload_id, b"z", digest_of(b"x" * 500 + b"y" * 15 + b"z"))
    assert files(store) == {}


async def test_few_bytes_that_become_many(store: Store, other: Store) -> None:
    """Neither bytes nor the end of the row's content may get lost on the way to the file."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:100])
    for which, begin, end in (
        (other, 100, INLINE_SIZE),
        (store, INLINE_SIZE, INLINE_SIZE + 1),
        (other, INLINE_SIZE + 1, LARGE),
    ):
        upload = await resume(which, upload_id, offset=begin)
        await upload.write(content[begin:end])
        await upload.aclose()
        assert upload.size == end
        assert set(files(store)) == (set() if end == INLINE_SIZE else {upload_id})
    await finish(store, upload_id, b"", digest_of(content))


async def test_few_bytes_beside_what_a_process_has_left_in_a_file(store: Store) -> None:
    """It died before it recorded that the bytes are in a file now."""
    upload_id = await start(store, b"few bytes")
    store.blob_folder.path(upload_id).write_bytes(b"never acknowledged")
    await finish(store, upload_id, b"", digest_of(b"few bytes"))
    upload_id = await start(store, b"few bytes")
    store.blob_folder.path(upload_id).write_bytes(b"never acknowledged")
    more = os.urandom(LARGE)
    await finish(store, upload_id, more, digest_of(b"few bytes" + more))


async def test_few_bytes_that_are_not_as_many_as_were_counted(store: Store) -> None:
    """Nobody writes such a row. If there is one, its hash is not trusted."""
    upload_id = await start(store, b"few bytes")
    rows(store, "UPDATE uploads SET size = size + 1")
    async with aclosing(await resume(store, upload_id)) as upload:
        assert upload.size == 0


async def test_few_bytes_survive_that_their_file_cannot_be_written(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were acknowledged, and only what the request brings may be lost to a full disk."""
    upload_id = await start(store, b"few bytes")
    restore = UploadFile.restore
    with ExitStack() as stack:

        async def restore_on_full_disk(file: UploadFile, size: int, state: bytes, algorithm: str) -> bytes | None:
            stack.enter_context(full_disk(store))
            return await restore(file, size, state, algorithm)

        stack.enter_context(busy_disk(tmp_path))
        stack.enter_context(monkeypatch.context()).setattr(UploadFile, "restore", restore_on_full_disk)
        with pytest.raises(OCIError, match="disk is full"):
            async with aclosing(await resume(store, upload_id)) as upload:
                await upload.write(os.urandom(LARGE))
    assert (await resume(store, upload_id)).size == len(b"few bytes")
    await finish(store, upload_id, b"!", digest_of(b"few bytes!"))


@pytest.mark.parametrize("size", [10, LARGE])
async def test_a_writer_that_goes_to_a_file_sees_what_another_has_recorded(
    store: Store, other: Store, size: int
) -> None:
    """Neither is what it has taken for it, nor is its own put behind it."""
    content = os.urandom(size)
    upload_id = await start(store)
    first = await resume(store, upload_id)
    await first.write(b"first")
    async with aclosing(await resume(other, upload_id)) as second:
        await second.write(content)
    with refused("RANGE_INVALID"):
        await first.write(os.urandom(LARGE))
    await first.aclose()
    await finish(store, upload_id, b"!", digest_of(content + b"!"))


@pytest.mark.parametrize("size", [10, LARGE])
async def test_a_writer_that_fails_to_go_to_a_file_overwrites_nothing(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It has seen under the lock that another has recorded more, which is then not its own to record on."""
    content = os.urandom(size)
    upload_id = await start(store)
    first = await resume(store, upload_id)
    await first.write(b"first")
    second = await resume(other, upload_id)
    await second.write(content)
    await second.aclose()
    with monkeypatch.context() as patch:
        patch.setattr(UploadFile, "restore", full_database)
        with refused("UNKNOWN"):
            await first.write(os.urandom(LARGE))
    with refused("RANGE_INVALID"):
        await first.aclose()
    await finish(store, upload_id, b"!", digest_of(content + b"!"))


async def test_more_uploads_than_threads_in_many_pieces(store: Store) -> None:
    """Each upload keeps its order, and none keeps a thread to itself, though there is always a piece that waits."""
    contents = [os.urandom(3_000_000) for _ in range(THREADS + 2)]

    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 70_000):
            yield content[start : start + 70_000]

    async def push(content: bytes) -> None:
        descriptor = Descriptor(BINARY, digest_of(content), len(content))
        await store.push_blob(REPOSITORY, descriptor, chunks(content))

    await asyncio.gather(*map(push, contents))
    for content in contents:
        assert await read_blob(store, digest_of(content)) == content


async def test_a_commit_after_a_failed_write(store: Store, tmp_path: Path) -> None:
    """The rest of the failed write must not become a part of the blob's file."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content[:-1])
    async with aclosing(await resume(store, upload_id)) as upload:
        await upload.write(content[-1:])
        await wait_for_file(store, upload_id, LARGE)
        with full_disk(store) as file, busy_disk(tmp_path):
            # A device does not let itself be cut either.
            os.pwrite(file, b"left", LARGE)
            with pytest.raises(OCIError, match="disk is full"):
                await write_and(commit_it, upload, b"more" * 1000)
        await upload.commit(digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


async def closed(store: Store) -> None:
    """Wait until the threads have released every file."""
    async with asyncio.timeout(10):
        while open_files(store.path):  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0.001)


async def wait_for_file(store: Store, upload_id: str, size: int) -> None:
    async with asyncio.timeout(10):
        while files(store)[upload_id].stat().st_size < size:  # noqa: ASYNC110  # of the core, which has no event
            await asyncio.sleep(0.001)


async def test_a_sync_that_fails_ends_the_upload(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of lost pages once: a second sync would say that all is well."""
    content = os.urandom(LARGE)
    upload_id = await start(store, content)

    async with aclosing(await resume(store, upload_id)) as upload:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(errno.EIO))
            with pytest.raises(OCIError, match="disk has failed"):
                await upload.commit(digest_of(content))
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await resume(store, upload_id)
    assert files(store) == {}


async def test_cancelling_frees_the_bytes_even_if_it_cannot_be_written_down(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.write(os.urandom(LARGE))
        with monkeypatch.context() as patch:
            patch.setattr(store.database, "write", full_database)
            with refused("UNKNOWN"):
                await upload.cancel()
    assert [path.stat().st_size for path in files(store).values()] == [0]


@pytest.mark.parametrize(
    "error, status", [(errno.EROFS, 503), (errno.EMFILE, 503), (errno.ENOSPC, 507), (errno.EDQUOT, 507)]
)
async def test_a_file_that_cannot_be_made(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int, status: int
) -> None:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing(error))
            with pytest.raises(OCIError) as caught:
                await upload.write(os.urandom(LARGE))
        assert caught.value.status == status
        await upload.write(content := os.urandom(LARGE))
        await upload.commit(digest_of(content))
