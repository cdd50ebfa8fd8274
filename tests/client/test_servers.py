"""The client against granian, and a server of ours over a client."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from ociserver import UNKNOWN_SIZE, ByteRange, Descriptor, Handler, Memory
from ociserver.client import Client
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import BINARY, digest_of, pieces_of, push_image, read_blob, tags_of
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site
from tests.serving.uvicorn_here import serve_here

pytestmark = pytest.mark.anyio

CONTENT = random.Random(7).randbytes(1 << 20) * 32
DIGEST = digest_of(CONTENT)
PIECE = 300_000
HERE = "/v2/group/project/blobs/uploads/1"


@pytest.fixture(scope="module")
def granian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    log = tmp_path_factory.mktemp("granian") / "log"
    with serve_with_granian("tests.client.application:application", Path(log), "--workers", "1") as site:
        yield site


def pieces() -> AsyncIterator[bytes]:
    return pieces_of(*(CONTENT[start : start + PIECE] for start in range(0, len(CONTENT), PIECE)))


@pytest.mark.parametrize("size", [len(CONTENT), UNKNOWN_SIZE])
async def test_a_large_blob(granian: Site, size: int) -> None:
    async with Client(granian.url) as client:
        await client.push_blob("group/project", Descriptor(BINARY, DIGEST, size), pieces())
        assert await read_blob(client, DIGEST) == CONTENT
        assert await read_blob(client, DIGEST, ByteRange(100, 20_000_000)) == CONTENT[100:20_000_001]
        await client.delete_blob("group/project", DIGEST)


@pytest.mark.parametrize("offset", [0, None])
async def test_a_large_upload(granian: Site, offset: int | None) -> None:
    """As one stream, and in chunks."""
    async with Client(granian.url) as client:
        upload_id = (await client.push_blob_chunked("group/project")).id
        resumed = await client.push_blob_chunked_resume("group/project", upload_id, offset=offset)
        async with aclosing(resumed) as writer:
            async for piece in pieces():
                await writer.write(piece)
            assert (await writer.commit(DIGEST)).size == len(CONTENT)
        assert await read_blob(client, DIGEST) == CONTENT
        await client.delete_blob("group/project", DIGEST)


async def test_registries_behind_one_another() -> None:
    """Errors, uploads and lists pass through two servers."""
    async with (
        serve_here(Handler(Memory())) as far,
        serve_here(Handler(Client(far.url))) as near,
        Client(near.url) as client,
    ):
        await client.push_blob("group/project", Descriptor(BINARY, DIGEST, len(CONTENT)), pieces())
        assert await read_blob(client, DIGEST) == CONTENT
        content = await push_image(client, "latest", layers=[b"layer"])
        assert (await client.get_tag("group/project", "latest")).content == content
        assert await tags_of(client) == ["latest"]
        for backend in (Client(far.url), Client(near.url)):
            async with backend:
                with pytest.raises(Exception, match=r"^manifest unknown: manifest unknown to registry$"):
                    await backend.get_tag("group/project", "unknown")


@pytest.mark.parametrize("size", [100_000, UNKNOWN_SIZE])
async def test_a_push_through_a_server_is_a_push(registry: Scripted, size: int) -> None:
    """The server sends the same requests as the client alone."""
    content = bytes(100_000)
    registry.will(Reply(202, {"Location": HERE}), Reply(201))
    async with serve_here(Handler(Client(registry.url, retries=HURRIED))) as near, Client(near.url) as client:
        await client.push_blob("group/project", Descriptor(BINARY, digest_of(content), size), pieces_of(content))
    assert [(seen.method, len(seen.body)) for seen in registry.seen] == [("POST", 0), ("PUT", 100_000)]


async def test_chunks_through_a_server_are_chunks(registry: Scripted) -> None:
    content = bytes(150 * 1024)
    registry.will(Reply(202, {"Location": HERE}), Reply(202, {"Location": HERE}), Reply(201))
    async with (
        serve_here(Handler(Client(registry.url, retries=HURRIED))) as near,
        Client(near.url) as client,
        aclosing(await client.push_blob_chunked("group/project", chunk_size=len(content))) as writer,
    ):
        await writer.write(content)
        await writer.commit(digest_of(content))
    assert [(seen.method, len(seen.body)) for seen in registry.seen] == [("POST", 0), ("PATCH", 153_600), ("PUT", 0)]
