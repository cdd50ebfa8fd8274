"""A whole registry is copied: each repository, with what refers to its images, and again after an interruption."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from typing import Any

import pytest

from ociserver import Backend, ByteRange, Descriptor, HTTPError, Memory, OCIError
from ociserver.copy import CopyError, Progress, Settings
from ociserver.copy.registry import CopiedRepository, copy_registry
from tests.contract.contents import IMAGE, collect, digest_of, image, push_blob, push_manifest, read_blob, tags_of
from tests.copy.images import fill

pytestmark = pytest.mark.anyio

NAMES = [f"team/{number}" for number in range(6)]
LARGE = bytes(range(256)) * 1024


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Reading(Memory):
    """Counts the blobs that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> Any:
        self.read.append(digest)
        return await super().get_blob(repository, digest, range)


class Failing(Memory):
    """Cannot be reached any more after some pushes of blobs."""

    left = 1_000_000

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        self.left -= 1
        if self.left < 0:
            raise HTTPError(503, "gone")
        return await super().push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> Any:
        if self.left < 0:
            raise HTTPError(503, "gone")
        return await super().push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)


async def copied(source: Backend, target: Backend) -> tuple[list[CopiedRepository], Progress]:
    progress = Progress()
    results = [each async for each in copy_registry(source, target, Settings(referrers=True), progress)]
    return sorted(results, key=lambda each: each.name), progress


@pytest.fixture
async def source() -> Reading:
    registry = Reading()
    for name in NAMES:
        await fill(registry, name, LARGE)
    return registry


async def test_everything_is_there(source: Reading) -> None:
    target = Memory()
    results, progress = await copied(source, target)
    assert [(each.name, each.tags, each.failed, each.error) for each in results] == [
        (name, 3, [], None) for name in NAMES
    ]
    assert await collect(target.repositories()) == NAMES
    for name in NAMES:
        assert await tags_of(target, name) == ["amd64", "latest", "v1"]
        index = (await target.get_tag(name, "v1")).descriptor.digest
        (sbom,) = await collect(target.referrers(name, index))
        assert len(await collect(target.referrers(name, sbom.digest))) == 1
        assert await read_blob(target, digest_of(LARGE), repository=name) == LARGE
    # What several repositories have is sent about once, and mounted in the others.
    assert progress.blobs_mounted > progress.blobs_copied


async def test_what_is_there_is_not_read_again(source: Reading) -> None:
    target = Memory()
    await copied(source, target)
    source.read.clear()
    results, progress = await copied(source, target)
    assert source.read == []
    assert [each.tags for each in results] == [3] * len(NAMES)
    assert (progress.manifests_copied, progress.bytes_sent) == (0, 0)


async def test_an_interrupted_copy_continues(source: Reading) -> None:
    target = Failing()
    target.left = 7
    with pytest.raises(CopyError, match="gone") as caught:
        await copied(source, target)
    assert caught.value.end == "destination"
    target.left = 1_000_000
    source.read.clear()
    results, progress = await copied(source, target)
    assert [(each.tags, each.error) for each in results] == [(3, None)] * len(NAMES)
    assert len(source.read) == progress.blobs_copied
    for name in NAMES:
        index = (await target.get_tag(name, "v1")).descriptor.digest
        assert len(await collect(target.referrers(name, index))) == 1


async def test_referrers_that_an_interrupted_copy_has_left_out(source: Reading) -> None:
    target = Memory()
    progress = Progress()
    # Of an image that only its index names.
    arm64 = json.loads((await source.get_tag(NAMES[0], "v1")).content)["manifests"][1]
    signature = image(b"{}", subject=arm64)
    await push_manifest(source, signature, IMAGE, repository=NAMES[0])
    async for _ in copy_registry(source, target, Settings(), progress):  # without referrers, as if it ended before them
        pass
    await copied(source, target)
    assert (await target.get_manifest(NAMES[0], digest_of(signature))).content == signature
    for name in NAMES:
        index = (await target.get_tag(name, "v1")).descriptor.digest
        assert len(await collect(target.referrers(name, index))) == 1


async def test_one_repository_that_fails_does_not_end_the_others(source: Reading) -> None:
    class Refusing(Memory):
        async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
            if repository == NAMES[2]:
                raise OCIError("TOOMANYREQUESTS")
            return await super().resolve_manifest(repository, digest)

    results, _ = await copied(source, Refusing())
    assert [each.name for each in results if each.failed or each.error] == [NAMES[2]]
    assert [each.tags for each in results] == [3, 3, 0, 3, 3, 3]


async def test_a_repository_without_tags() -> None:
    source, target = Memory(), Memory()
    await push_blob(source, b"only a blob", "a")
    results, _ = await copied(source, target)
    assert [(each.name, each.tags, each.error) for each in results] == [("a", 0, None)]
