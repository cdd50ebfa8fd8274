"""The SQL for a store and the index at once: an eviction, and the count of a content that may have been evicted."""

from __future__ import annotations

from dataclasses import dataclass

from ociserver.compose.cache import queries
from ociserver.compose.cache.queries import Content, Kept
from ociserver.errors import CONTENT_UNKNOWN, OCIError
from ociserver.store.holdings import linked, present
from ociserver.store.manifests import delete_manifest
from ociserver.store.transaction import Transaction
from ociserver.store.writes import drop_blobs

__all__ = ["Evicted", "add_held", "evict", "victims_of"]


@dataclass(frozen=True, slots=True)
class Evicted:
    """What was evicted, and the keys of files that no row names any more."""

    contents: list[Kept]
    keys: list[str]


def evict(most: int, limit: int, *, is_recorded: bool, now: int) -> Transaction[Evicted]:
    """Delete the least recently used contents.

    Nodes do it one after another: the next one finds the new total. What a manifest or a tag needs does not prevent it,
    because the cache can fetch everything again.

    Args:
        most: bytes that may stay.
        limit: contents that one transaction deletes.
        is_recorded: whether keys that no copy names are recorded (`Blobs.records`).
        now: seconds since the epoch.
    """
    too_much = (yield from queries.locked_total()) - most
    if too_much <= 0:
        return Evicted([], [])
    victims = victims_of((yield from queries.least_used(limit)), too_much)
    blobs = {kept.content.digest: kept.repositories for kept in victims if kept.content.kind == "blob"}
    keys = yield from drop_blobs(blobs, is_recorded=is_recorded, now=now)
    for kept in victims:
        if kept.content.kind == "manifest":
            try:
                yield from delete_manifest(kept.content.repository, kept.content.digest, immutable_tags=False)
            except OCIError as error:
                if error.code not in CONTENT_UNKNOWN:
                    raise
    yield from queries.forget(victims)
    return Evicted(victims, keys)


def add_held(content: Content, repository: str, size: int, used: float, added: int) -> Transaction[None]:
    """Record that a repository has a content, unless another node has evicted it before this transaction."""
    yield from queries.locked_total()
    if content.kind == "blob":
        is_held = repository in (yield from linked([content.digest])).get(content.digest, {})
    else:
        is_held = bool((yield from present([(repository, content.digest)])))
    if is_held:
        yield from queries.add(content, (repository,), size, used, added)


def victims_of(least_used: list[Kept], too_much: int) -> list[Kept]:
    """As many of these contents as have `too_much` bytes, in this order."""
    victims: list[Kept] = []
    for kept in least_used:
        if too_much <= 0:
            break
        victims.append(kept)
        too_much -= kept.size
    return victims
