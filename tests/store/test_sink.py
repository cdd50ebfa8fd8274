"""Files that are opened before anything comes, and what is acknowledged by them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from ociserver import Handler, OCIError
from ociserver.store import Store
from ociserver.store.upload import Upload
from tests.contract.contents import REPOSITORY, digest_of, read_blob
from tests.contract.errors import refused
from tests.handler.driver import Exchange, make_scope, request
from tests.store.full_disk import full_disk
from tests.store.looking import files, rows
from tests.store.test_uploads import LARGE, finish, resume, start

pytestmark = pytest.mark.anyio


async def size_of(store: Store, upload_id: str) -> int:
    async with aclosing(await resume(store, upload_id)) as upload:
        return upload.size


async def test_what_a_sink_takes_is_there_for_any_process(store: Store, other: Store) -> None:
    content = os.urandom(2 * LARGE)
    upload_id = await start(store, content[:LARGE])
    async with aclosing(await resume(store, upload_id, LARGE)) as upload:
        sink = await upload.open_sink()
        assert sink
        sink.add(content[LARGE:-5])
    assert await size_of(other, upload_id) == 2 * LARGE - 5
    await finish(other, upload_id, content[-5:], digest_of(content))
    assert await read_blob(store, digest_of(content)) == content


@pytest.mark.parametrize("offset", [0, LARGE - 1, LARGE + 1])
async def test_a_sink_is_for_what_belongs_there(store: Store, offset: int) -> None:
    content = os.urandom(LARGE)
    upload_id = await start(store, content)
    async with aclosing(await resume(store, upload_id, offset)) as upload:
        with refused("RANGE_INVALID"):
            await upload.open_sink()
    await finish(store, upload_id, b"", digest_of(content))


async def test_there_is_none_before_there_is_a_file(store: Store) -> None:
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        assert await upload.open_sink() is None
        await upload.write(b"little")
        assert await upload.open_sink() is None
        upload_id = upload.id
    for offset in (None, len(b"little")):
        async with aclosing(await resume(store, upload_id, offset)) as upload:
            assert await upload.open_sink() is None
    assert files(store) == {}


async def test_of_an_upload_that_has_ended_there_is_none(store: Store) -> None:
    content = os.urandom(LARGE)
    async with aclosing(await store.push_blob_chunked(REPOSITORY)) as upload:
        await upload.write(content)
        await upload.commit(digest_of(content))
        assert await upload.open_sink() is None


# A file that does not count yet


async def test_what_comes_first_is_recorded_whatever_was_kept(store: Store, other: Store) -> None:
    """There is a file of which nothing is recorded, and a request that opens it and brings nothing."""
    content = os.urandom(LARGE)
    upload_id = await start(store)
    store.uploads.forget(upload_id)
    store.blob_folder.path(upload_id).write_bytes(b"of a process that was killed")
    for _ in range(2):
        async with aclosing(await resume(store, upload_id, 0)) as upload:
            assert await upload.open_sink()
    assert await size_of(store, upload_id) == 0
    async with aclosing(await resume(store, upload_id, 0)) as upload:
        await upload.write(content)
    for which in (store, other):
        assert await size_of(which, upload_id) == LARGE
    await finish(other, upload_id, b"", digest_of(content))


@pytest.mark.parametrize("acknowledged", [0, 10, LARGE])
async def test_what_did_not_fit_leaves_nothing_of_its_request(store: Store, other: Store, acknowledged: int) -> None:
    """On a full disk, the bytes would take space for a day. What was acknowledged stays, in the row or in the file."""
    content = os.urandom(3 * LARGE)
    upload_id = await start(store, content[:acknowledged])
    upload = await resume(store, upload_id, acknowledged)
    await upload.write(content[acknowledged : 2 * LARGE])
    await upload.written()
    with full_disk(store):
        await fails(upload, content[2 * LARGE :])
    await upload.aclose()
    assert files(store)[upload_id].stat().st_size == (acknowledged if acknowledged == LARGE else 0)
    assert await size_of(other, upload_id) == acknowledged
    await finish(other, upload_id, content[acknowledged:], digest_of(content))


async def fails(upload: Upload, data: bytes) -> None:
    sink = await upload.open_sink()
    assert sink
    sink.add(data)
    with pytest.raises(OCIError, match="disk is full"):
        await upload.written()


async def test_what_a_failure_has_left_does_not_count(store: Store) -> None:
    """A write that ends on a full disk in the middle, where not even that can be taken back."""
    content = os.urandom(2 * LARGE)
    upload_id = await start(store, content[:LARGE])
    upload = await resume(store, upload_id)
    await upload.write(content[LARGE : LARGE + 5])
    await upload.written()
    with full_disk(store) as file:
        await fails(upload, os.urandom(LARGE))
        os.pwrite(file, b"a part of it", LARGE + 5)
    await upload.aclose()
    assert files(store)[upload_id].stat().st_size == LARGE
    await finish(store, upload_id, content[LARGE:], digest_of(content))


# Over HTTP


async def begin(handler: Handler) -> str:
    reply = await request(handler, "POST", f"/v2/{REPOSITORY}/blobs/uploads/", b"")
    assert reply.status == 202
    return reply["location"]


@pytest.mark.parametrize("body", [None, [b""]], ids=["no length", "chunked and empty"])
async def test_a_body_that_is_empty_needs_no_place(store: Store, body: Sequence[bytes] | None) -> None:
    """Like `curl -X PUT`: nothing says where the body begins."""
    handler, content = Handler(store), os.urandom(LARGE)
    location = await begin(handler)
    assert (await request(handler, "PATCH", location, content)).status == 202
    reply = await request(handler, "PATCH", location, body)
    assert (reply.status, reply["range"]) == (202, f"0-{LARGE - 1}")
    assert (await request(handler, "PUT", f"{location}?digest={digest_of(content)}", body)).status == 201


class Client:
    """Gives futures, as granian does."""

    def __init__(self, *pieces: bytes) -> None:
        self.left = list(pieces)

    def __call__(self) -> asyncio.Future[dict[str, object]]:
        future = asyncio.get_running_loop().create_future()
        piece = self.left.pop(0) if self.left else None
        if piece is None:
            future.set_result({"type": "http.disconnect"})
        else:
            future.set_result({"type": "http.request", "body": piece, "more_body": bool(self.left)})
        return future


async def patch(handler: Handler, location: str, first: int, length: int, *pieces: bytes) -> Exchange:
    exchange = Exchange([])
    headers = [("content-length", str(length)), ("content-range", f"{first}-{first + length - 1}")]
    await handler(make_scope("PATCH", location, headers), Client(*pieces), exchange.send)
    return exchange


async def test_chunks_past_the_event_loop(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    handler, content, added = Handler(store), os.urandom(4 * LARGE), list[int]()
    write = store.database.write

    async def counted(*args: object, **options: object) -> object:
        added.append(1)
        return await write(*args, **options)  # type: ignore[arg-type]

    location = await begin(handler)
    assert (await patch(handler, location, 0, LARGE, content[:LARGE])).reply.status == 202
    monkeypatch.setattr(store.database, "write", counted)
    middle = [content[LARGE : 2 * LARGE], content[2 * LARGE : 3 * LARGE]]
    exchange = await patch(handler, location, LARGE, 2 * LARGE, *middle)
    assert (exchange.reply.status, exchange.reply["range"]) == (202, f"0-{3 * LARGE - 1}")
    assert added == [], "the file says it"
    wrong = await patch(handler, location, LARGE, LARGE, content[3 * LARGE :])
    assert (wrong.reply.status, wrong.reply.code) == (416, "RANGE_INVALID")
    # Half of it comes, and then the client has gone.
    await patch(handler, location, 3 * LARGE, LARGE, content[3 * LARGE : 3 * LARGE + 10], b"")
    reply = await request(Handler(other), "GET", location)
    assert reply["range"] == f"0-{3 * LARGE + 9}"
    rest = await patch(Handler(other), location, 3 * LARGE + 10, LARGE - 10, content[3 * LARGE + 10 :])
    assert rest.reply.status == 202
    assert (await request(handler, "PUT", f"{location}?digest={digest_of(content)}", None)).status == 201
    assert await read_blob(other, digest_of(content)) == content


async def test_a_client_that_sends_its_head_only_is_let_go(store: Store) -> None:
    handler, content = Handler(store), os.urandom(LARGE)
    location = await begin(handler)
    assert (await request(handler, "PATCH", location, content)).status == 202
    exchange = await patch(handler, location, LARGE, 5)
    assert exchange.reply.status in (0, 400)
    assert store.uploads.claimed == set()
    ((upload_id,),) = rows(store, "SELECT id FROM uploads")
    assert not store.blobs.is_held(upload_id)
    assert (await request(handler, "PUT", f"{location}?digest={digest_of(content)}", b"")).status == 201
