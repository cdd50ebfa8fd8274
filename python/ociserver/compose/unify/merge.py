"""Merges sorted lists."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from ociserver.compose.unify.outcomes import code_of
from ociserver.errors import OCIError
from ociserver.iterators import closing

__all__ = ["merged"]

Item = TypeVar("Item")

_END: Final[Any] = object()


async def merged(
    lists: Sequence[AsyncIterator[Item]], position: Callable[[Item], str], limit: int | None
) -> AsyncIterator[Item]:
    """The items of all lists in order, without duplicates. Of two items at one position, the earlier list's item wins.

    Keeps one item of each list in memory. A list that begins with NAME_UNKNOWN counts as empty, unless all do.

    Args:
        lists: each sorted by `position`, and requested with `limit`.
        position: the sort key of an item.
        limit: maximum number of items. Beyond it, items would be missing from a list that ended at its own limit.
    """
    unknown: list[OCIError] = []
    heads: list[tuple[str, int, Item]] = []
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(closing(items)) for items in lists]

        async def advance(number: int) -> None:
            item = await anext(opened[number], _END)
            if item is not _END:
                heapq.heappush(heads, (position(item), number, item))

        for number in range(len(opened)):
            try:
                await advance(number)
            except OCIError as error:
                if code_of(error) != "NAME_UNKNOWN":
                    raise
                unknown.append(error)
        if len(unknown) == len(lists):
            raise unknown[0]
        count, last = 0, None
        while heads and (limit is None or count < limit):
            place, number, item = heapq.heappop(heads)
            if place != last:
                count, last = count + 1, place
                yield item
            await advance(number)
