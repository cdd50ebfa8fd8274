"""Reads from the store: a complete content or 404, whatever happens to the file meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest

from ociserver import ByteRange, File, OCIError
from ociserver._core import read_at
from ociserver.store import Store, reader
from ociserver.store.reads import StoredContent
from ociserver.store.upload import INLINE_SIZE
from ociserver.store.writes import Stored
from tests.contract.contents import REPOSITORY, digest_of, push_blob, read_blob
from tests.contract.errors import refused
from tests.store.looking import file_of, files, open_files, rows
from tests.store.test_uploads import finish, resume, start

pytestmark = pytest.mark.anyio

LARGE = 3 * INLINE_SIZE


@pytest.fixture(params=["all", "none", "begin"])
def in_memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much of a file is in the page cache. After a write that is everything, so reads of it are replaced."""

    def begin(fd: int, offset: int, length: int) -> bytes | None:
        return read_at(fd, offset, min(length, 5000)) if offset < reader.READ_SIZE else None

    if request.param != "all":
        monkeypatch.setattr(reader, "read_cached", begin if request.param == "begin" else lambda *_: None)


async def is_missing(store: Store, digest: str) -> bool:
    """Whether GET and HEAD both say 404."""
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, digest)
    with refused("BLOB_UNKNOWN"):
        await store.get_blob(REPOSITORY, digest, ByteRange(0, 0))
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest)
    with refused("BLOB_UNKNOWN"):
        await store.mount_blob(REPOSITORY, "elsewhere", digest)
    with refused("BLOB_UNKNOWN"):
        await store.mount_blob(None, "elsewhere", digest)
    return True


async def test_a_mount_looks_only_at_what_its_source_has(tmp_path: Path) -> None:
    """Otherwise the time of a mount that fails would tell that another repository has the blob."""

    class Watched(Store):
        looks = 0

        def _is_whole(self, copy: StoredContent) -> bool:
            self.looks += 1
            return super()._is_whole(copy)

    async with Watched(tmp_path / "data") as store:
        digest = await push_blob(store, os.urandom(LARGE), repository="other")
        await push_blob(store, b"mine", repository="mine")
        store.looks = 0
        for source in ("mine", "absent"):
            with refused("BLOB_UNKNOWN", "NAME_UNKNOWN"):
                await store.mount_blob(source, "target", digest)
        assert store.looks == 0
        await store.mount_blob("other", "target", digest)
        assert store.looks == 1


@pytest.mark.parametrize("harm", ["delete", "truncate", "lengthen", "mark"])
@pytest.mark.parametrize("by", ["post", "chunks", "small"])
async def test_a_copy_that_is_not_whole_is_missing_until_it_is_pushed_again(store: Store, harm: str, by: str) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    path = file_of(store, digest)
    if harm == "delete":
        path.unlink()
    elif harm == "mark":
        rows(store, "UPDATE copies SET bad = 1")
    else:
        os.truncate(path, LARGE - 1 if harm == "truncate" else LARGE + 1)
    assert await is_missing(store, digest)
    if by == "post":
        await push_blob(store, content)
    elif by == "chunks":
        await finish(store, await start(store, content), b"", digest)
    else:
        await store.uploads.commit(REPOSITORY, digest, LARGE, upload=None, stored=Stored(content=content))
    assert await read_blob(store, digest) == content
    assert (await store.resolve_blob(REPOSITORY, digest)).size == LARGE
    assert path not in files(store).values(), "the old file has no use any more"


async def test_a_marked_inline_copy_heals(store: Store) -> None:
    digest = await push_blob(store, b"small")
    rows(store, "UPDATE copies SET bad = 1, content = ?", b"smell")
    assert await is_missing(store, digest)
    await push_blob(store, b"small")
    assert await read_blob(store, digest) == b"small"


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("how", ["get", "head"])
async def test_a_copy_that_is_replaced_between_two_looks(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch, how: str, *, small: bool
) -> None:
    """Its row names a file that a re-push, in another process, has just deleted."""
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    look = store.blob_folder.directory.open_file if how == "get" else store.blob_folder.directory.size

    def replaced_meanwhile(key: str, *arguments: Any) -> Any:
        monkeypatch.undo()
        new = "0" * 32
        path = store.blob_folder.path(key)
        if small:
            rows(store, "UPDATE copies SET key = NULL, content = ?", content)
        else:
            path.rename(store.blob_folder.path(new))
            rows(store, "UPDATE copies SET key = ?", new)
        path.unlink(missing_ok=True)
        return look(key, *arguments)

    monkeypatch.setattr(store.blob_folder.directory, "open_file" if how == "get" else "size", replaced_meanwhile)
    if how == "get":
        assert await read_blob(store, digest) == content
    else:
        assert (await store.resolve_blob(REPOSITORY, digest)).size == LARGE


@pytest.mark.parametrize("error, status", [(errno.EMFILE, 503), (errno.EIO, 500), (errno.EACCES, 503)])
async def test_a_file_that_cannot_be_opened_is_not_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int, status: int
) -> None:
    """A 404 would make clients push again what is there, and the push would replace it."""
    digest = await push_blob(store, os.urandom(LARGE))

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr(os, "stat", refuse)
        for ask in (store.get_blob, store.resolve_blob):
            with pytest.raises((OSError, OCIError)) as caught:
                await ask(REPOSITORY, digest)
            assert not isinstance(caught.value, OCIError) or caught.value.status == status
    assert len(await read_blob(store, digest)) == LARGE


@pytest.mark.usefixtures("in_memory")
async def test_an_open_blob_outlives_its_file(store: Store) -> None:
    content = os.urandom(5 * reader.READ_SIZE)
    digest = await push_blob(store, content)
    path = file_of(store, digest)
    async with aclosing(await store.get_blob(REPOSITORY, digest)) as blob:
        path.unlink()
        assert b"".join([piece async for piece in blob]) == content


@pytest.mark.usefixtures("in_memory")
async def test_a_file_that_is_cut_while_it_is_read_ends_early(store: Store) -> None:
    """The handler then cuts the answer, which has promised another length."""
    digest = await push_blob(store, os.urandom(5 * reader.READ_SIZE))
    async with aclosing(await store.get_blob(REPOSITORY, digest)) as blob:
        os.truncate(file_of(store, digest), 3 * reader.READ_SIZE + 5)
        assert len(b"".join([piece async for piece in blob])) == 3 * reader.READ_SIZE + 5


async def test_an_open_blob_says_where_it_is(store: Store, folder: Path) -> None:
    content = os.urandom(LARGE)
    digest = await push_blob(store, content)
    async with aclosing(await store.get_blob(REPOSITORY, digest, ByteRange(100, 199))) as blob:
        assert isinstance(blob.location, File)
        assert os.pread(blob.location.descriptor, blob.location.length, blob.location.offset) == content[100:200]
        assert len(list(open_files(folder))) == 1
        assert store.blob_folder.directory.readers == 1
    await blob.aclose()
    assert list(open_files(folder)) == []
    assert store.blob_folder.directory.readers == 0
    async with aclosing(await store.get_blob(REPOSITORY, await push_blob(store, b"small"))) as small:
        assert small.location == b"small"


async def test_pieces_are_smaller_beside_many_transfers(store: Store) -> None:
    """Uploads count too: all of them share the thread that small requests wait for."""
    digest = await push_blob(store, os.urandom(4 * reader.READ_SIZE_OF_FEW))
    upload_ids = [await start(store, os.urandom(LARGE)) for _ in range(2)]
    async with AsyncExitStack() as opened:
        blobs = [await opened.enter_async_context(aclosing(await store.get_blob(REPOSITORY, digest))) for _ in range(7)]
        pieces = aiter(blobs[0])
        sizes = [len(await anext(pieces))]
        async with AsyncExitStack() as written:
            for upload_id in upload_ids:
                upload = await written.enter_async_context(aclosing(await resume(store, upload_id, LARGE)))
                assert await upload.open_sink()
                sizes.append(len(await anext(pieces)))
        sizes.append(len(await anext(pieces)))
    assert sizes == [reader.READ_SIZE_OF_FEW, reader.READ_SIZE_OF_FEW, reader.READ_SIZE, reader.READ_SIZE_OF_FEW]


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize("turns", range(6))
async def test_a_reader_that_is_cancelled_closes_its_file(store: Store, folder: Path, turns: int) -> None:
    digest = await push_blob(store, os.urandom(8 * reader.READ_SIZE))
    task = asyncio.ensure_future(read_blob(store, digest))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert list(open_files(folder)) == []
    assert store.blob_folder.directory.readers == 0


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize(
    "size", [0, 1, INLINE_SIZE, INLINE_SIZE + 1, reader.READ_SIZE, reader.READ_SIZE + 1, 1_234_567]
)
async def test_sizes_and_ranges(store: Store, size: int) -> None:
    content = os.urandom(size)
    digest = await push_blob(store, content)
    assert await read_blob(store, digest) == content
    for wanted in (
        ByteRange(0, 0),
        ByteRange(size // 2, None),
        ByteRange(None, 3),
        ByteRange(max(size - 1, 0), size + 10),
    ):
        span = wanted.resolve(size)
        if span is None:
            with refused("RANGE_INVALID"):
                await store.get_blob(REPOSITORY, digest, wanted)
        else:
            assert await read_blob(store, digest, wanted) == content[slice(*span)]


async def test_a_head_renews_at_most_once_an_hour(store: Store) -> None:
    digest = await push_blob(store, b"asked for")
    for age_s, renews in ((10, False), (3500, False), (3700, True)):
        rows(store, "UPDATE links SET renewed = unixepoch() - ?", age_s)
        ((before,),) = rows(store, "SELECT renewed FROM links")
        await store.resolve_blob(REPOSITORY, digest)
        ((after,),) = rows(store, "SELECT renewed FROM links")
        assert (after > before + 3000) is renews


async def test_a_head_does_not_wait_for_its_renewal(store: Store) -> None:
    """Nor does it fail with it: on a full or a slow disk what is there is still there."""
    digest = await push_blob(store, b"asked for")
    rows(store, "UPDATE links SET renewed = 0")
    written = asyncio.Event()
    write = store.database.write

    async def slow(*arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.3)
        written.set()
        return await write(*arguments, **options)

    async def full(*_: Any, **__: Any) -> Any:
        raise OCIError("UNKNOWN", "full", status=507)

    for writing in (full, slow):
        store.database.write = writing  # type: ignore[method-assign]
        assert (await store.resolve_blob(REPOSITORY, digest)).size == 9
    assert not written.is_set()
    await asyncio.sleep(0.4)
    store.database.write = write  # type: ignore[method-assign]
    assert rows(store, "SELECT renewed > 0 FROM links") == [(1,)]


async def test_a_head_of_what_has_just_been_unlinked(store: Store) -> None:
    digest = await push_blob(store, b"asked for")
    rows(store, "UPDATE links SET renewed = 0")
    write = store.database.write

    async def late(*arguments: Any, **options: Any) -> Any:
        rows(store, "DELETE FROM links")
        return await write(*arguments, **options)

    store.database.write = late  # type: ignore[method-assign]
    with refused("BLOB_UNKNOWN"):
        await store.resolve_blob(REPOSITORY, digest)


async def test_digests_need_not_be_known(store: Store) -> None:
    await push_blob(store, b"x")
    assert await is_missing(store, digest_of(b"y"))


async def test_a_store_that_is_open_can_be_opened_again(tmp_path: Path) -> None:
    async with Store(tmp_path / "data", durability="off") as store:
        await push_blob(store, b"content")
        async with store:
            pass
        # Closed by the last who opened it.
        assert (await store.resolve_blob(REPOSITORY, digest_of(b"content"))).size == 7
