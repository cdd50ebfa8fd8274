"""Requests that are broken off in the middle leave the truth behind."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing

import pytest

from ociserver import UNKNOWN_SIZE, Backend, Descriptor
from ociserver.testing.contract.contents import BINARY, REPOSITORY, digest_of, pieces_of, read_blob
from ociserver.testing.contract.errors import code_of, refused

PIECE = 1024 * 1024


class Interruptions:
    """Requests that are broken off in the middle leave the truth behind."""

    pytestmark = pytest.mark.anyio

    @pytest.mark.parametrize("turns", range(6))
    async def test_a_write_that_is_broken_off(self, writable: Backend, turns: int) -> None:
        """Wherever the upload stops, its reported size is the number of bytes that the digest covers."""
        content = os.urandom(3 * PIECE)
        writer = await writable.push_blob_chunked(REPOSITORY)
        await writer.write(content[:PIECE])
        task = asyncio.ensure_future(writer.write(content[PIECE : 2 * PIECE]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.aclose()

        again = await writable.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None)
        async with aclosing(again):
            assert again.size in (PIECE, 2 * PIECE)
            await again.write(content[again.size :])
            await again.commit(digest_of(content))
        assert await read_blob(writable, digest_of(content)) == content

    @pytest.mark.parametrize("turns", range(6))
    async def test_a_commit_that_is_broken_off(self, writable: Backend, turns: int) -> None:
        """It has happened or it has not: then the upload is still there."""
        content = os.urandom(PIECE)
        digest = digest_of(content, "sha512")
        writer = await writable.push_blob_chunked(REPOSITORY)
        await writer.write(content)
        task = asyncio.ensure_future(writer.commit(digest))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await writer.aclose()
        code = await code_of(writable.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None))
        assert code in {None, "BLOB_UPLOAD_UNKNOWN"}
        if code is None:
            again = await writable.push_blob_chunked_resume(REPOSITORY, writer.id, offset=None)
            async with aclosing(again):
                await again.commit(digest)
        assert await read_blob(writable, digest) == content

    async def test_a_push_that_is_broken_off(self, writable: Backend) -> None:
        content = os.urandom(2 * PIECE)
        digest = digest_of(content)
        push = writable.push_blob(
            REPOSITORY, Descriptor(BINARY, digest, UNKNOWN_SIZE), pieces_of(content[:PIECE], content)
        )
        task = asyncio.ensure_future(push)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with refused("BLOB_UNKNOWN", "NAME_UNKNOWN"):
            await writable.get_blob(REPOSITORY, digest)
        await writable.push_blob(REPOSITORY, Descriptor(BINARY, digest, len(content)), pieces_of(content))
        assert await read_blob(writable, digest) == content
