"""Corrects the index after a kill, a power cut, a collection or a deletion, so that it matches the store.

The functions may run in any process while the cache serves. The cache adds a content to the index after the store has
it, and removes it after the store has deleted it. Each step skips entries that were added again since it read them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ociserver.compose.cache.index import Index
from ociserver.compose.cache.queries import Content, Kept, Kind
from ociserver.store import Store, holdings

__all__ = ["adopt", "release", "settle", "settle_store"]

PAGE: Final = 100
"""Rows of one read. The event loop serves waiting requests after each."""


async def settle(store: Store, index: Index) -> None:
    """Remove entries that the store no longer has. Free the bytes of blobs that are unlinked or corrupt."""
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
        holdings.present([(kept.content.repository, kept.content.digest) for kept in manifests])
    )
    gone = [kept for kept in manifests if (kept.content.repository, kept.content.digest) not in present]
    dropped: dict[str, tuple[str, ...]] = {}
    for kept in blobs:
        links = linked.get(kept.content.digest, {})
        missing = set(kept.repositories) - links.keys()
        if any(links.values()):
            # A corrupt copy is useless: the cache fetches the blob again.
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
    """Release local repositories that no longer exist, so that upstream's of the same names can be fetched."""
    after = ""
    while names := await index.owned("local", after, PAGE):
        after = names[-1]
        await index.release(set(names) - await store.database.read(holdings.repositories_of(names)))


async def adopt(store: Store, index: Index, takes: Callable[[int], int], is_local: Callable[[str], bool]) -> None:
    """Add contents of upstream repositories that the index lacks, because a process was killed before it added them.

    Args:
        store: has the contents.
        index: gets the missing entries.
        takes: returns the bytes on the disk of a blob of a given size.
        is_local: whether clients push to a repository. Its contents are neither counted nor evicted.
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
        await _adopt(index, "blob", repository, {digest: takes(size) for _, digest, size in rows})
    digest = ""
    while rows := await store.database.read(holdings.manifests_after(repository, digest, PAGE)):
        digest = rows[-1][0]
        await _adopt(index, "manifest", repository, dict(rows))


async def _adopt(index: Index, kind: Kind, repository: str, sizes: dict[str, int]) -> None:
    known = await index.known(kind, list(sizes), repository)
    for digest, size in sizes.items():
        if digest not in known:
            await index.add(Content(kind, digest, "" if kind == "blob" else repository), repository, size)
    await asyncio.sleep(0)


async def settle_store(store: Store) -> None:
    """Correct the index of the cache in a store, if there is one. Call it after contents left the store."""
    index = Index(store)
    await settle(store, index)
    await release(store, index)
