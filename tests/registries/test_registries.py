"""The client with each registry. The table in docs/registries.md says what a registry cannot do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from ociserver import UNKNOWN_SIZE, ByteRange, Descriptor, RegistryError
from ociserver.client import Client
from tests.client.conftest import HURRIED
from tests.contract.contents import (
    BINARY,
    CONFIG,
    IMAGE,
    collect,
    descriptor,
    digest_of,
    encode,
    pieces_of,
    push_image,
    push_manifest,
    read_blob,
    tags_of,
)
from tests.contract.errors import refused
from tests.registries.kinds import KINDS, Running
from tests.support.tools import ROOT

pytestmark = pytest.mark.anyio

CONTENT = random.Random(3).randbytes(3 << 20)
DIGEST = digest_of(CONTENT)

TABLE = ROOT / "docs" / "registries.md"
COLUMNS = list(dict.fromkeys(kind.name.partition(",")[0] for kind in KINDS))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def does(row: str) -> pytest.MarkDecorator:
    """The row of docs/registries.md that a test shows. With a registry that cannot do it, the test must fail."""
    return pytest.mark.does(row)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with request.param.start(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(autouse=True)
def can(request: pytest.FixtureRequest) -> None:
    mark = request.node.get_closest_marker("does")
    if mark and mark.args[0] in request.node.callspec.params["registry"].cannot:
        request.applymarker(pytest.mark.xfail(raises=(RegistryError, AssertionError), reason="it cannot", strict=True))


@pytest.fixture
async def client(registry: Running) -> AsyncIterator[Client]:
    async with Client(registry.url, credentials=registry.credentials, retries=HURRIED, page_size=3) as client:
        yield client


def pieces(content: bytes = CONTENT) -> AsyncIterator[bytes]:
    return pieces_of(*(content[start : start + 300_000] for start in range(0, len(content), 300_000)))


@does("push and pull a blob")
@pytest.mark.parametrize("size", [len(CONTENT), UNKNOWN_SIZE])
async def test_push_and_pull(client: Client, size: int) -> None:
    name = f"push/{size % 7}"
    await client.push_blob(name, Descriptor(BINARY, DIGEST, size), pieces())
    assert await read_blob(client, DIGEST, None, name) == CONTENT
    assert (await client.resolve_blob(name, DIGEST)).size == len(CONTENT)
    small = b"small"
    await client.push_blob(name, Descriptor(BINARY, digest_of(small), 5), pieces_of(small))
    assert await read_blob(client, digest_of(small), None, name) == small


@does("report a wrong digest")
async def test_a_wrong_digest(client: Client) -> None:
    with refused("DIGEST_INVALID"):
        await client.push_blob("wrong", Descriptor(BINARY, digest_of(b"other"), 5), pieces_of(b"small"))


@does("push in chunks")
async def test_chunks(client: Client) -> None:
    async with aclosing(await client.push_blob_chunked("chunks", chunk_size=1 << 20)) as writer:
        async for piece in pieces():
            await writer.write(piece)
        await writer.commit(DIGEST)
    assert await read_blob(client, DIGEST, None, "chunks") == CONTENT


@does("continue an upload")
async def test_resume(registry: Running, client: Client) -> None:
    async with aclosing(await client.push_blob_chunked("resumed", chunk_size=1 << 20)) as writer:
        await writer.write(CONTENT[:1_500_000])
    # With another client, as after a restart. It has to ask for the size of the upload.
    async with Client(registry.url, credentials=registry.credentials, retries=HURRIED) as other:
        resumed = await other.push_blob_chunked_resume("resumed", writer.id, offset=None)
        async with aclosing(resumed) as writer:
            assert writer.size == 1_500_000
            await writer.write(CONTENT[1_500_000:])
            await writer.commit(DIGEST)
        assert await read_blob(other, DIGEST, None, "resumed") == CONTENT


@does("cancel an upload")
async def test_cancel(client: Client) -> None:
    writer = await client.push_blob_chunked("cancelled")
    await writer.cancel()


@does("pull a range")
@pytest.mark.parametrize("span", [ByteRange(100, 999_999), ByteRange(3_000_000, None), ByteRange(None, 10)])
async def test_ranges(client: Client, span: ByteRange) -> None:
    await client.push_blob("ranges", Descriptor(BINARY, DIGEST, len(CONTENT)), pieces())
    found = span.resolve(len(CONTENT))
    assert found
    assert await read_blob(client, DIGEST, span, "ranges") == CONTENT[slice(*found)]


@does("report a range that is not satisfiable")
async def test_a_range_outside(client: Client) -> None:
    await client.push_blob("ranges", Descriptor(BINARY, DIGEST, len(CONTENT)), pieces())
    with refused("RANGE_INVALID"):
        await read_blob(client, DIGEST, ByteRange(1 << 30, None), "ranges")


@does("push and pull a manifest")
async def test_manifests(client: Client) -> None:
    content = await push_image(client, "latest", repository="manifests", layers=[b"layer"])
    for found in (
        await client.get_tag("manifests", "latest"),
        await client.get_manifest("manifests", digest_of(content)),
    ):
        assert found.content == content
        assert found.descriptor == Descriptor(IMAGE, digest_of(content), len(content))
    assert await client.resolve_tag("manifests", "latest") == found.descriptor
    with refused("MANIFEST_UNKNOWN"):
        await client.get_tag("manifests", "unknown")


@does("list tags in pages")
async def test_tags_by_pages(client: Client) -> None:
    wanted = [f"tag-{number:02}" for number in range(8)]
    await push_image(client, *wanted, repository="tags")
    assert await tags_of(client, "tags") == wanted
    assert await collect(client.tags("tags", start_after="tag-05")) == wanted[6:]


@does("list repositories in pages")
async def test_repositories_by_pages(client: Client) -> None:
    names = [f"catalog/{name}" for name in "abcdefg"]
    for name in names:
        await push_image(client, "latest", repository=name)
    found = [name async for name in client.repositories() if name.startswith("catalog/")]
    assert found == names


@does("list referrers")
async def test_referrers(client: Client) -> None:
    subject = await push_image(client, "latest", repository="referrers")
    contents = [
        encode(
            {
                "schemaVersion": 2,
                "mediaType": IMAGE,
                "artifactType": f"application/vnd.example.{kind}",
                "config": descriptor(CONFIG, b"{}"),
                "layers": [],
                "subject": descriptor(IMAGE, subject),
            }
        )
        for kind in ("signature", "sbom")
    ]
    for content in contents:
        await push_manifest(client, content, IMAGE, repository="referrers")
    found = await collect(client.referrers("referrers", digest_of(subject)))
    assert [entry.digest for entry in found] == sorted(map(digest_of, contents))
    found = await collect(client.referrers("referrers", digest_of(subject), "application/vnd.example.sbom"))
    assert [entry.digest for entry in found] == [digest_of(contents[1])]


@does("mount a blob")
async def test_mount(client: Client) -> None:
    await client.push_blob("mount/from", Descriptor(BINARY, DIGEST, len(CONTENT)), pieces())
    mounted = await client.mount_blob("mount/from", "mount/to", DIGEST)
    assert mounted.size == len(CONTENT)
    assert await read_blob(client, DIGEST, None, "mount/to") == CONTENT


@does("delete a manifest")
async def test_delete_manifest(client: Client) -> None:
    content = await push_image(client, "one", "two", repository="delete/manifest")
    await client.delete_manifest("delete/manifest", digest_of(content))
    with refused("MANIFEST_UNKNOWN"):
        await client.get_manifest("delete/manifest", digest_of(content))


@does("delete a tag")
async def test_delete_tag(client: Client) -> None:
    content = await push_image(client, "one", "two", repository="delete/tag")
    await client.delete_tag("delete/tag", "one")
    assert (await client.get_tag("delete/tag", "two")).content == content
    with refused("MANIFEST_UNKNOWN"):
        await client.get_tag("delete/tag", "one")


@does("delete a blob")
async def test_delete_blob(client: Client) -> None:
    await client.push_blob("delete/blob", Descriptor(BINARY, digest_of(b"x"), 1), pieces_of(b"x"))
    await client.delete_blob("delete/blob", digest_of(b"x"))
    with refused("BLOB_UNKNOWN"):
        await client.resolve_blob("delete/blob", digest_of(b"x"))


@does("sha512")
async def test_sha512(client: Client) -> None:
    digest = digest_of(CONTENT, "sha512")
    await client.push_blob("sha512", Descriptor(BINARY, digest, len(CONTENT)), pieces())
    assert await read_blob(client, digest, None, "sha512") == CONTENT


def test_the_table() -> None:
    """The rows of the table are what these tests show, and its cells what the registries can do."""
    lines = [line.strip("| \n").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    head, _, *rows = (cells for cells in lines if len(cells) == len(COLUMNS) + 1)
    assert head[1:] == COLUMNS
    shown = {
        mark.args[0] for test in globals().values() for mark in getattr(test, "pytestmark", []) if mark.name == "does"
    }
    assert {cells[0] for cells in rows} == shown
    for kind in KINDS:
        column = COLUMNS.index(kind.name.partition(",")[0]) + 1
        assert {cells[0] for cells in rows if cells[column].startswith("no")} == kind.cannot, kind.name
