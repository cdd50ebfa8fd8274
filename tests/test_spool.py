"""Uploads in chunks to a backend that only has `push_blob`: their limits, their end, and who may continue them.

tests/contract tests that they behave like any other upload, tests/clients that real clients use them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from ociserver import Backend, Descriptor, Handler, OCIError, SpoolLimits
from tests.contract.contents import REPOSITORY, digest_of
from tests.contract.errors import refused
from tests.faults.disk import Disk, small_disk
from tests.handler.driver import request
from tests.handler.registry import UPLOADS

pytestmark = pytest.mark.anyio

CONTENT = os.urandom(300_000)
FILE = 70_000
"""Bytes of an upload that has a file."""


class Small(Backend):
    """Takes blobs in one request."""

    def __init__(self, **limits: Any) -> None:
        self.blobs: dict[str, bytes] = {}
        self.spool_limits = SpoolLimits(**limits)

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        content = b"".join([chunk async for chunk in chunks])
        if digest_of(content) != descriptor.digest:
            raise OCIError("DIGEST_INVALID")
        if descriptor.size not in (len(content), -1):
            raise OCIError("SIZE_INVALID")
        self.blobs[descriptor.digest] = content
        return Descriptor(descriptor.media_type, descriptor.digest, len(content))


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Small]:
    limits = {"max_upload_bytes": 400_000, "max_total_bytes": 500_000, "max_uploads": 3, "folder": str(tmp_path)}
    async with Small(**limits) as backend:
        yield backend


def open_files(folder: Path) -> list[str]:
    """Files of this process below a folder, also those without a name."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return [name for name in found if name.startswith(f"{folder}/")]


async def begin(backend: Backend, content: bytes = b"") -> str:
    writer = await backend.push_blob_chunked(REPOSITORY)
    async with aclosing(writer):
        await writer.write(content)
    return writer.id


async def test_over_http(tmp_path: Path) -> None:
    backend = Small(folder=str(tmp_path))
    async with Handler(backend) as handler:
        location = (await request(handler, "POST", UPLOADS))["location"]
        reply = await request(handler, "PATCH", location, CONTENT[:FILE])
        assert (reply.status, reply["upload-offset"]) == (202, str(FILE))
        reply = await request(handler, "PUT", f"{reply['location']}?digest={digest_of(CONTENT)}", CONTENT[FILE:])
        assert reply.status == 201
        assert backend.blobs == {digest_of(CONTENT): CONTENT}
        assert open_files(tmp_path) == []


async def test_a_file_has_no_name_and_ends_with_its_upload(small: Small, tmp_path: Path) -> None:
    upload_id = await begin(small, CONTENT[:FILE])
    assert len(open_files(tmp_path)) == 1
    assert os.listdir(tmp_path) == []
    async with aclosing(await small.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
        await writer.cancel()
    assert open_files(tmp_path) == []


async def test_a_small_upload_needs_no_file(small: Small, tmp_path: Path) -> None:
    await begin(small, b"config")
    assert open_files(tmp_path) == []


@pytest.mark.parametrize("calls_super", [True, False])
async def test_closing_the_backend_ends_its_uploads(tmp_path: Path, *, calls_super: bool) -> None:
    class Mine(Small):
        async def __aexit__(self, *_: object) -> None:
            if calls_super:
                await super().__aexit__(None, None, None)

    backend = Mine(folder=str(tmp_path))
    async with Handler(backend) as handler:
        location = (await request(handler, "POST", UPLOADS))["location"]
        assert (await request(handler, "PATCH", location, CONTENT)).status == 202
        assert len(open_files(tmp_path)) == 1
    assert open_files(tmp_path) == []
    async with Handler(backend) as handler:
        assert (await request(handler, "GET", location)).code == "BLOB_UPLOAD_UNKNOWN"


async def test_one_upload_is_too_large(small: Small) -> None:
    upload_id = await begin(small, CONTENT)
    async with aclosing(await small.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
        with refused("SIZE_INVALID") as caught:
            await writer.write(bytes(100_001))
        assert caught.value.status == 413
        await writer.write(bytes(100_000))


async def test_all_uploads_are_too_large(small: Small) -> None:
    first, second = await begin(small, CONTENT), await begin(small)
    async with aclosing(await small.push_blob_chunked_resume(REPOSITORY, second, offset=None)) as writer:
        with refused("TOOMANYREQUESTS") as caught:
            await writer.write(CONTENT)
        assert "Retry-After" in caught.value.headers
        async with aclosing(await small.push_blob_chunked_resume(REPOSITORY, first, offset=None)) as other:
            await other.commit(digest_of(CONTENT))
        await writer.write(CONTENT)


async def test_too_many_uploads(small: Small) -> None:
    uploads = [await begin(small) for _ in range(3)]
    with refused("TOOMANYREQUESTS"):
        await begin(small)
    async with aclosing(await small.push_blob_chunked_resume(REPOSITORY, uploads[0], offset=None)) as writer:
        await writer.cancel()
    await begin(small)


async def test_an_idle_upload_ends(tmp_path: Path) -> None:
    async with Small(idle_timeout_s=0.1, folder=str(tmp_path)) as small:
        idle, used = await begin(small, CONTENT), await begin(small)
        async with aclosing(await small.push_blob_chunked_resume(REPOSITORY, used, offset=None)) as writer:
            await writer.write(CONTENT[:FILE])
            for _ in range(200):
                if len(open_files(tmp_path)) == 1:
                    break
                await asyncio.sleep(0.02)
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await small.push_blob_chunked_resume(REPOSITORY, idle, offset=None)
            # A request writes to this one, however slowly.
            await writer.write(CONTENT[FILE:])
            await writer.commit(digest_of(CONTENT))


async def test_an_upload_of_another_process(small: Small) -> None:
    async with Small() as other:
        upload_id = await begin(other)
    with refused("BLOB_UPLOAD_UNKNOWN") as caught:
        await small.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)
    assert "another process" in caught.value.message


async def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        await fill_up(disk)


async def fill_up(disk: Disk) -> None:
    async with Small(folder=str(disk.root)) as small:
        upload_id = await begin(small, CONTENT)
        disk.fill()
        async with aclosing(await small.push_blob_chunked_resume(REPOSITORY, upload_id, offset=None)) as writer:
            with refused("UNKNOWN") as caught:
                await writer.write(CONTENT)
            assert caught.value.status == 507
            assert writer.size == len(CONTENT)
            disk.make_room()
            await writer.write(CONTENT)
            await writer.commit(digest_of(CONTENT * 2))
        assert small.blobs[digest_of(CONTENT * 2)] == CONTENT * 2


async def test_a_backend_that_takes_no_blobs() -> None:
    with refused("UNSUPPORTED"):
        await Backend().push_blob_chunked(REPOSITORY)
    with refused("UNSUPPORTED"):
        await Backend().push_blob_chunked_resume(REPOSITORY, "any", offset=None)
