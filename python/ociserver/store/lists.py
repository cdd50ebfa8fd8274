"""The lists of the store. Each page is one read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from ociserver.annotations import Annotations
from ociserver.interface import Backend, Descriptor
from ociserver.iterators import paged
from ociserver.store import reads
from ociserver.store.transaction import Metadata, Transaction

__all__ = ["Lists"]

PAGE: Final = 1_000
"""Rows in a page of a list without a limit. No transaction stays open between two pages."""


class Lists(Backend):
    """The `Lister` of the store. It reads the metadata."""

    database: Metadata

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        async for name in self._pages(reads.repositories_after, start_after, limit):
            yield name

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        def page(after: str, size: int) -> Transaction[list[str]]:
            return reads.tags_after(repository, after, size)

        async for name in self._pages(page, start_after, limit):
            yield name

    async def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            page = await self.database.read(reads.referrers_after(repository, digest, artifact_type, start_after, size))
            for found in page:
                annotations = found.annotations
                if found.is_large:
                    annotations = await self.database.read_aside(
                        reads.referrer_annotations(repository, digest, found.digest)
                    )
                    if annotations is None:
                        continue  # deleted meanwhile
                yield Descriptor(
                    found.media_type,
                    found.digest,
                    found.size,
                    found.artifact_type,
                    {} if annotations is None else Annotations(annotations),
                )
                if limit is not None:
                    limit -= 1
            if len(page) < size:
                return
            start_after = page[-1].digest

    def _pages(
        self, page: Callable[[str, int], Transaction[list[str]]], start_after: str, limit: int | None
    ) -> AsyncIterator[str]:
        def read(start_after: str, size: int) -> Awaitable[list[str]]:
            return self.database.read(page(start_after, size))

        return paged(read, start_after, limit, PAGE)
