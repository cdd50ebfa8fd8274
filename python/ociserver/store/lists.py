"""The lists of the store: each page is one read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from ociserver.interface import Backend, Descriptor
from ociserver.store import reads
from ociserver.store.work import Database, Work

__all__ = ["Lists"]

Item = TypeVar("Item")

PAGE: Final = 1_000
"""Rows that a list without a limit reads at a time; no transaction stays open between pages."""


class Lists(Backend):
    """The `Lister` of the store, over its metadata."""

    database: Database

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        async for name in self._pages(reads.repositories_after, str, start_after, limit):
            yield name

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        def page(after: str, size: int) -> Work[list[str]]:
            return reads.tags_after(repository, after, size)

        async for name in self._pages(page, str, start_after, limit):
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
        def page(after: str, size: int) -> Work[list[Descriptor]]:
            return reads.referrers_after(repository, digest, artifact_type, after, size)

        async for descriptor in self._pages(page, _digest, start_after, limit):
            yield descriptor

    async def _pages(
        self,
        page: Callable[[str, int], Work[list[Item]]],
        position: Callable[[Item], str],
        start_after: str,
        limit: int | None,
    ) -> AsyncIterator[Item]:
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            items = await self.database.read(page(start_after, size))
            for item in items:
                yield item
            if len(items) < size:
                return
            start_after = position(items[-1])
            if limit is not None:
                limit -= size


def _digest(descriptor: Descriptor) -> str:
    return descriptor.digest
