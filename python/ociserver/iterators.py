"""Reads lists page by page, and closes lists that are left before their end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

__all__ = ["closing", "paged"]

Item = TypeVar("Item")


@asynccontextmanager
async def closing(items: AsyncIterator[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """Close a list at the end of the block, if it is a generator, and not only when Python collects it."""
    try:
        yield items
    finally:
        aclose = getattr(items, "aclose", None)
        if aclose is not None:
            await aclose()


async def paged(
    read: Callable[[str, int], Awaitable[list[str]]], start_after: str, limit: int | None, page_size: int
) -> AsyncIterator[str]:
    """Names, read page by page. Each page is consistent in itself. Writes between two pages are allowed.

    Args:
        read: called with a name and a number; returns up to this many names, sorted, strictly after the name.
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
