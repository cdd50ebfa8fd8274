"""Requests that say where they write, or that end an upload, are correct with one read of the database."""

from __future__ import annotations

import os
from contextlib import aclosing

import pytest

from ociserver.lru import LRU
from ociserver.store import Store
from ociserver.store.upload import INLINE_SIZE, Upload
from tests.contract.contents import REPOSITORY, digest_of, push_blob, read_blob
from tests.contract.errors import refused
from tests.store.looking import file_of, files, rows

pytestmark = pytest.mark.anyio

SMALL = b"a small blob"


async def start(store: Store) -> str:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        return upload.id


async def closing_request(store: Store, upload_id: str, content: bytes) -> Upload:
    """Open an upload like a PUT."""
    return await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=0, digest=digest_of(content))


async def complete(store: Store, upload_id: str, sent: bytes, content: bytes) -> None:
    async with aclosing(await closing_request(store, upload_id, content)) as upload:
        await upload.write(sent)
        await upload.commit(digest_of(content))


async def patch(store: Store, upload_id: str, offset: int, data: bytes) -> None:
    async with aclosing(await store.push_blob_chunked_resume(REPOSITORY, upload_id, offset=offset)) as upload:
        await upload.write(data)


@pytest.mark.parametrize("content", [b"", SMALL, os.urandom(INLINE_SIZE)])
async def test_a_small_blob(store: Store, content: bytes) -> None:
    await complete(store, await start(store), content, content)
    assert await read_blob(store, digest_of(content)) == content
    assert files(store) == {}
    assert rows(store, "SELECT * FROM uploads") == []
    assert not store.uploads.claimed


@pytest.mark.parametrize("first", [1, INLINE_SIZE])
async def test_one_that_turns_out_to_be_large(store: Store, first: int) -> None:
    content = os.urandom(INLINE_SIZE + 1)
    async with aclosing(await closing_request(store, await start(store), content)) as upload:
        await upload.write(content[:first])
        await upload.write(content[first:])
        assert upload.size == len(content)
        await upload.commit(digest_of(content))
    assert file_of(store, digest_of(content)).read_bytes() == content


async def test_what_another_process_has_added_counts(store: Store, other: Store) -> None:
    upload_id = await start(store)
    await patch(other, upload_id, 0, SMALL)
    await complete(store, upload_id, b"", SMALL)
    assert await read_blob(store, digest_of(SMALL)) == SMALL


async def test_what_another_process_has_added_is_not_overwritten(store: Store, other: Store) -> None:
    upload_id = await start(store)
    await patch(other, upload_id, 0, b"another's")
    with refused("RANGE_INVALID"):
        await complete(store, upload_id, SMALL, SMALL)
    assert (await other.uploads.find(REPOSITORY, upload_id)).size == len(b"another's")


async def test_nor_is_it_by_what_has_another_digest(store: Store, other: Store) -> None:
    upload_id = await start(store)
    await patch(other, upload_id, 0, b"another's")
    with refused("RANGE_INVALID"):
        await complete(store, upload_id, b"spoilt", SMALL)
    assert (await other.uploads.find(REPOSITORY, upload_id)).size == len(b"another's")


async def test_one_that_another_process_has_ended(store: Store, other: Store) -> None:
    upload_id = await start(store)
    async with aclosing(await other.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as upload:
        await upload.cancel()
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await complete(store, upload_id, SMALL, SMALL)
    assert not store.uploads.claimed


@pytest.mark.parametrize("sent", [b"", SMALL])
async def test_going_on_with_one_that_another_process_has_ended(store: Store, other: Store, sent: bytes) -> None:
    upload_id = await start(store)
    async with aclosing(await other.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as upload:
        await upload.cancel()
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await patch(store, upload_id, 0, sent)
    assert not store.uploads.claimed


async def test_one_that_was_completed(store: Store) -> None:
    upload_id = await start(store)
    async with aclosing(await closing_request(store, upload_id, SMALL)) as upload:
        await upload.write(SMALL)
        await upload.commit(digest_of(SMALL))
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await upload.write(SMALL)
        with refused("BLOB_UPLOAD_UNKNOWN"):
            await upload.commit(digest_of(SMALL))
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await closing_request(store, upload_id, SMALL)


async def test_of_another_repository_it_is_unknown(store: Store) -> None:
    upload_id = await start(store)
    with refused("BLOB_UPLOAD_UNKNOWN"):
        await store.push_blob_chunked_resume("elsewhere", upload_id, offset=0, digest=digest_of(SMALL))


async def test_a_request_that_is_broken_off_keeps_what_came(store: Store, other: Store) -> None:
    upload_id = await start(store)
    async with aclosing(await closing_request(store, upload_id, SMALL)) as upload:
        await upload.write(SMALL[:4])
    await patch(other, upload_id, 4, SMALL[4:])
    await complete(store, upload_id, b"", SMALL)
    assert await read_blob(store, digest_of(SMALL)) == SMALL


async def test_a_wrong_digest_keeps_what_came(store: Store, other: Store) -> None:
    upload_id = await start(store)
    with refused("DIGEST_INVALID"):
        await complete(store, upload_id, SMALL, b"another")
    assert (await other.uploads.find(REPOSITORY, upload_id)).size == len(SMALL)


async def test_two_requests_at_once(store: Store) -> None:
    upload_id = await start(store)
    async with aclosing(await closing_request(store, upload_id, SMALL)) as first:
        await first.write(SMALL)
        with refused("RANGE_INVALID"):
            await complete(store, upload_id, SMALL, SMALL)
        await first.commit(digest_of(SMALL))


async def test_so_many_that_some_are_forgotten(store: Store) -> None:
    store.uploads._remembered = LRU(2)
    uploads = [await start(store) for _ in range(4)]
    assert [upload_id for upload_id, _ in store.uploads._remembered.items()] == uploads[2:]
    for number, upload_id in enumerate(uploads):
        await complete(store, upload_id, b"%d" % number, b"%d" % number)
        assert await read_blob(store, digest_of(b"%d" % number)) == b"%d" % number


async def test_what_is_written_to_or_ended_is_not_remembered(store: Store) -> None:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        assert store.uploads._remembered
        await upload.write(SMALL)
        assert not store.uploads._remembered
    assert store.uploads._remembered
    async with aclosing(await store.push_blob_chunked_resume(REPOSITORY, upload.id, offset=None)) as upload:
        await upload.cancel()
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.cancel()
    assert not store.uploads._remembered


async def test_a_small_blob_takes_the_place_of_a_file(store: Store) -> None:
    # A store of an older version may have small blobs in files.
    store.uploads.inline_size = 0
    upload_id = await start(store)
    await patch(store, upload_id, 0, SMALL)
    await complete(store, upload_id, b"", SMALL)
    store.uploads.inline_size = INLINE_SIZE
    assert len(files(store)) == 1
    reader = await store.get_blob(REPOSITORY, digest_of(SMALL))
    await push_blob(store, SMALL, "elsewhere")
    assert files(store) == {}
    assert b"".join([piece async for piece in reader]) == SMALL
    await reader.aclose()
    assert await read_blob(store, digest_of(SMALL)) == SMALL
