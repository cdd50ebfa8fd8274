"""Bringing the index in line with the store: what was killed, lost in a power cut, collected or deleted beside it.

It may run while the cache serves, in any process. Contents are noted after they are in the store, and forgotten after
they have left it, and each step looks only at what has not been noted anew meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ociserver.compose.cache.index import Index
from ociserver.compose.cache.queries import Content, Kept
from ociserver.store import Store, holdings

__all__ = ["adopt", "release", "settle", "settle_folder"]

PAGE: Final = 100
"""Rows of one look, after which waiting requests have their turn."""


async def settle(store: Store, index: Index) -> None:
    """Forget what the store has no more, and free the bytes of blobs that it does not link, or that have rotted."""
    after = 0
    while page := await index.kept(after, PAGE):
        after = page[-1].id
        await _settle_page(store, index, page)
        await asyncio.sleep(0)


async def _settle_page(store: Store, index: Index, page: list[Kept]) -> None:
    blobs = [kept for kept in page if kept.content.kind == "blob"]
    manifests = [kept for kept in page if kept.content.kind == "manifest"]
    linked = await store.database.read(holdings.linked([kept.content.digest for kept in blobs])) if blobs else {}
    present = await store.database.read(
        holdings.present((kept.content.repository, kept.content.digest) for kept in manifests)
    )
    gone = [kept for kept in manifests if (kept.content.repository, kept.content.digest) not in present]
    dropped: dict[str, tuple[str, ...]] = {}
    for kept in blobs:
        links = linked.get(kept.content.digest, {})
        missing = set(kept.repositories) - links.keys()
        if any(links.values()):
            # A cache has no use for what has rotted: it is fetched again.
            dropped[kept.content.digest] = kept.repositories
            gone.append(kept)
        elif len(missing) == len(kept.repositories):
            dropped[kept.content.digest] = ()
            gone.append(kept)
        elif missing:
            await index.leave(kept, missing)
    if dropped:
        await store.drop_blobs(dropped)
    if gone:
        await index.forget(gone)


async def release(store: Store, index: Index) -> None:
    """Let go of local repositories that are not there any more: what upstream has by their names may be fetched."""
    after = ""
    while names := await index.owned("local", after, PAGE):
        after = names[-1]
        await index.release(set(names) - await store.database.read(holdings.repositories_of(names)))


async def adopt(store: Store, index: Index, takes: Callable[[int], int], is_local: Callable[[str], bool]) -> None:
    """Count what is in repositories of upstream's and is not noted: whoever fetched it was killed before it was.

    Args:
        store: with the contents.
        index: with the notes.
        takes: bytes that a blob of a size takes.
        is_local: whether a repository is pushed to, whatever it was before: what it has is not counted, and never goes.
    """
    after = ""
    while names := await index.owned("upstream", after, PAGE):
        after = names[-1]
        for name in names:
            if is_local(name):
                await index.leave_alone(name)
            else:
                await _adopt_repository(store, index, name, takes)


async def _adopt_repository(store: Store, index: Index, repository: str, takes: Callable[[int], int]) -> None:
    last = 0
    while rows := await store.database.read(holdings.blobs_after(repository, last, PAGE)):
        last = rows[-1][0]
        await _adopt(index, repository, {Content("blob", digest): takes(size) for _, digest, size in rows})
    digest = ""
    while rows := await store.database.read(holdings.manifests_after(repository, digest, PAGE)):
        digest = rows[-1][0]
        await _adopt(index, repository, {Content("manifest", found, repository): size for found, size in rows})


async def _adopt(index: Index, repository: str, sizes: dict[Content, int]) -> None:
    known = await index.known(list(sizes), repository)
    for content, size in sizes.items():
        if content not in known:
            await index.add(content, repository, size)
    await asyncio.sleep(0)


async def settle_folder(store: Store) -> None:
    """What a command that takes contents out of a store does last, so that a cache on its folder knows."""
    if not Index.exists(Path(store.path)):
        return
    index = Index.of(store)
    await index.open()
    try:
        await settle(store, index)
        await release(store, index)
    finally:
        await index.close()
