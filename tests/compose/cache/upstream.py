"""An upstream in the same process. It counts requests, and can be told to fail or wait."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from ociserver import Backend, BlobReader, ByteRange, Descriptor, Manifest, Memory
from tests.support.images import MANIFEST, digest_of

Answer = TypeVar("Answer")

REPOSITORY = "library/app"
MIB = 1024 * 1024


class Upstream(Backend):
    """A registry in memory behind a gate. While the gate is closed, it sends the first part of a blob and waits."""

    def __init__(self) -> None:
        self.memory = Memory(lax_child_references=True)
        self.asked: Counter[str] = Counter()
        self.failure: Exception | None = None
        self.delay_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.replaced: dict[str, bytes] = {}
        self.given = 0
        """Bytes of blobs that were sent."""
        self.closed = 0
        """Readers of blobs that were closed."""

    async def image(self, *layers: bytes, repository: str = REPOSITORY, tag: str = "latest") -> str:
        """Push an image of these layers. Returns its manifest's digest."""
        for layer in layers:
            await push(self.memory, repository, layer)
        descriptors = [{"mediaType": "application/x", "digest": digest_of(one), "size": len(one)} for one in layers]
        content = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors}).encode()
        await self.memory.push_manifest(repository, content, MANIFEST, tags=[tag])
        return digest_of(content)

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        await self._ask(f"blob {digest}")
        reader = await self.memory.get_blob(repository, digest, range)
        content = self.replaced.get(digest, b"".join([piece async for piece in reader]))
        return Gated(self, reader.descriptor, content)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        await self._ask("head blob")
        return await self.memory.resolve_blob(repository, digest)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        await self._ask("manifest")
        return self._changed(await self.memory.get_manifest(repository, digest))

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        await self._ask("tag")
        return self._changed(await self.memory.get_tag(repository, tag))

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        await self._ask("head tag")
        return await self.memory.resolve_tag(repository, tag)

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        await self._ask("tags")
        async for tag in self.memory.tags(repository, start_after=start_after, limit=limit):
            yield tag

    def _changed(self, manifest: Manifest) -> Manifest:
        content = self.replaced.get(manifest.descriptor.digest, manifest.content)
        return Manifest(manifest.descriptor, content)

    async def _ask(self, what: str) -> None:
        self.asked[what] += 1
        await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure


class Gated:
    """A `BlobReader` whose second half waits until the gate opens."""

    location = None

    def __init__(self, upstream: Upstream, descriptor: Descriptor, content: bytes) -> None:
        self.descriptor = descriptor
        self.range = (0, descriptor.size)
        self._content = content
        self._upstream = upstream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = len(self._content) // 2
        self._upstream.given += half
        yield self._content[:half]
        await self._upstream.gate.wait()
        for start in range(half, len(self._content), 64 * 1024):
            piece = self._content[start : start + 64 * 1024]
            self._upstream.given += len(piece)
            yield piece

    async def aclose(self) -> None:
        self._upstream.closed += 1


async def push(backend: Backend, repository: str, content: bytes) -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    digest = digest_of(content)
    await backend.push_blob(repository, Descriptor("application/x", digest, len(content)), chunks())
    return digest


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Wait until a condition holds. Fails if it does not hold in time."""
    for _ in range(int(seconds * 100)):
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition never held")


async def read(reader: Awaitable[BlobReader]) -> bytes:
    """All bytes of a blob."""
    blob = await reader
    try:
        return b"".join([piece async for piece in blob])
    finally:
        await blob.aclose()
