"""Collection by the library, as a program runs it that has opened its store with this durability."""

from __future__ import annotations

import asyncio
import sys

from ociserver.store import Store, upkeep
from ociserver.store.collect import Policy, collect
from ociserver.store.sqlite import Durability


async def _collect(path: str, durability: Durability) -> None:
    async with Store(path, durability=durability) as store:
        report = await collect(store, Policy(grace_s=0))
    assert report.counts["unlinked"]


if __name__ == "__main__":
    # So that pages are taken out of the database, and its log is cut, each time.
    upkeep.SPARE_PAGES = 0  # type: ignore[misc]
    asyncio.run(_collect(sys.argv[1], sys.argv[2]))  # type: ignore[arg-type]
