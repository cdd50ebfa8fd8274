"""Fills a registry that is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from benches.contents import MEDIA_TYPE, REPOSITORY, SMALL_BLOBS, TAGS, digest_of, manifest, small_blob, tag
from ociserver import Backend, Descriptor

_AT_ONCE = 250


async def fill(registry: Backend) -> None:
    """Push the tags and blobs that the benchmarks read. A registry that checks references must be lax."""
    # Many at once, because a store commits them together.
    for first in range(0, TAGS, _AT_ONCE):
        await asyncio.gather(
            *(
                registry.push_manifest(REPOSITORY, manifest(number), MEDIA_TYPE, tags=(tag(number),))
                for number in range(first, min(first + _AT_ONCE, TAGS))
            )
        )
    for number in range(SMALL_BLOBS):
        content = small_blob(number)
        descriptor = Descriptor("application/octet-stream", digest_of(content), len(content))
        await registry.push_blob(REPOSITORY, descriptor, _once(content))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
