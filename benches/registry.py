"""The registry that is measured: `application` over a memory backend that is filled when it is imported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from benches.contents import MEDIA_TYPE, REPOSITORY, SMALL_BLOBS, TAGS, digest_of, manifest, small_blob, tag
from ociserver import Descriptor, Handler, Memory


async def filled() -> Memory:
    """A registry with the tags and blobs that are asked for."""
    # Lax: the layers that the manifests name are not there, and nothing here asks for them.
    registry = Memory(lax_child_references=True)
    for number in range(TAGS):
        await registry.push_manifest(REPOSITORY, manifest(number), MEDIA_TYPE, tags=(tag(number),))
    for number in range(SMALL_BLOBS):
        content = small_blob(number)
        descriptor = Descriptor("application/octet-stream", digest_of(content), len(content))
        await registry.push_blob(REPOSITORY, descriptor, _once(content))
    return registry


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


application = Handler(asyncio.run(filled()))
