"""Lists that are read page by page, and lists that are left before their end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

__all__ = ["closing", "paged"]

Item = TypeVar("Item")


@asynccontextmanager
async def closing(items: AsyncIterator[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """Close a list that is left early at once, and not when it is collected, if it is a generator."""
    try:
        yield items
    finally:
        aclose = getattr(items, "aclose", None)
        if aclose is not None:
            await aclose()


async def paged(
    read: Callable[[str, int], Awaitable[list[str]]], start_after: str, limit: int | None, page_size: int
) -> AsyncIterator[str]:
    """Names, read page by page: each page is consistent in itself, and writes between two pages disturb neither.

    Args:
        read: returns up to so many names, sorted, strictly after a name.
        start_after: the name to begin after.
        limit: names to read; None for all.
        page_size: names in a page.
    """
    while limit is None or limit > 0:
        size = page_size if limit is None else min(page_size, limit)
        names = await read(start_after, size)
        for name in names:
            yield name
        if len(names) < size:
            return
        start_after = names[-1]
        if limit is not None:
            limit -= size
