"""Tries whether a database and a bucket can be used for a store, and says what is wrong with them, for people.

Nothing stays behind: what is made in the database is rolled back, and what is put into the bucket is deleted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from ociserver.store.external import External

__all__ = ["Found", "try_external"]


@dataclass(frozen=True, slots=True)
class Found:
    """Something about a database or a bucket.

    Args:
        at: which of the two.
        kind: `fault`: it cannot be used. `warning`: it can, but this is probably a mistake. `fact`: nothing is wrong.
        text: what it is, and what to do.
    """

    at: Literal["database", "objects"]
    kind: Literal["fault", "warning", "fact"]
    text: str


async def try_external(external: External, processes: int) -> AsyncIterator[Found]:
    """Try the parts of a store that are not in a folder.

    Args:
        external: its parts.
        processes: that use it on this node.

    Raises:
        ValueError: an extra is not installed. The message says how to install it.
    """
    external.made()  # raises if an extra is not installed
    from ociserver.store.objects.trial import try_bucket
    from ociserver.store.postgres_trial import try_database

    if external.database is not None:
        async for kind, text in try_database(external.database, processes):
            yield Found("database", kind, text)
    async for kind, text in try_bucket(external.objects):
        yield Found("objects", kind, text)
