"""The SQL of the index. Each function is one transaction.

Several nodes may write to the index. Whoever changes which contents there are, or their sizes, locks the row with the
total first. So these transactions run one after another, and the total is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ociserver.store.transaction import Row, Statement, Transaction

__all__ = [
    "Content",
    "Kept",
    "Kind",
    "Owner",
    "add",
    "check_tag",
    "checked",
    "claim",
    "forget",
    "forget_tag",
    "kept_after",
    "known",
    "least_used",
    "leave",
    "leave_alone",
    "locked_total",
    "note_uses",
    "owned_after",
    "owner_of",
    "release",
    "remove",
    "repository_with",
    "total",
]

Owner = Literal["upstream", "local"]
"""The source of a repository's contents: the cache fetches them from upstream, or clients push them."""

Kind = Literal["blob", "manifest"]

_LOCK: Final[Statement] = ("{SELECT 1 FROM cache_total FOR UPDATE}", ())


@dataclass(frozen=True, slots=True)
class Content:
    """A content that is counted: a blob, once for all its repositories, or the manifest of one repository."""

    kind: Kind
    digest: str
    repository: str = ""
    """Empty for a blob."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of the index.

    Args:
        id: of its row.
        content: the content.
        size: bytes that it takes on the disk or in the bucket.
        added: when it was added last, in nanoseconds since 1970.
        repositories: that have it.
    """

    id: int
    content: Content
    size: int
    added: int
    repositories: tuple[str, ...]


def owner_of(repository: str) -> Transaction[Owner | None]:
    rows = yield "SELECT owner FROM cache_repositories WHERE name = ?", (repository,)
    return rows[0][0] if rows else None


def claim(repository: str, owner: Owner) -> Transaction[tuple[Owner, bool]]:
    """Set the owner of a repository that has none. Returns the owner, and whether this call has set it."""
    while True:
        rows = yield (
            "INSERT INTO cache_repositories (name, owner) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING owner",
            (repository, owner),
        )
        if rows:
            return owner, True
        found = yield from owner_of(repository)
        if found is not None:
            return found, False
        # Another node has just released it.


def release(repositories: Iterable[str]) -> Transaction[None]:
    """Remove the owner of local repositories."""
    for repository in sorted(repositories):
        yield "DELETE FROM cache_repositories WHERE name = ? AND owner = 'local'", (repository,)


def owned_after(owner: Owner, name: str, limit: int) -> Transaction[list[str]]:
    """Repositories of an owner, in order, after a name."""
    rows = yield (
        "SELECT name FROM cache_repositories WHERE owner = ? AND name > ? ORDER BY name LIMIT ?",
        (owner, name, limit),
    )
    return [row[0] for row in rows]


def add(content: Content, repositories: Iterable[str], size: int, used: float, added: int) -> Transaction[None]:
    """Record that repositories have a content."""
    yield _LOCK
    rows = yield (
        "SELECT id, size FROM cache_contents WHERE kind = ? AND digest = ? AND repository = ?",
        (content.kind, content.digest, content.repository),
    )
    if rows:
        content_id, before = rows[0]
        yield (
            "UPDATE cache_contents SET size = ?, added = ?, used = CASE WHEN used < ? THEN ? ELSE used END"
            " WHERE id = ?",
            (size, added, used, used, content_id),
        )
    else:
        rows = yield (
            "INSERT INTO cache_contents (kind, digest, repository, size, used, added) VALUES (?, ?, ?, ?, ?, ?)"
            " RETURNING id",
            (content.kind, content.digest, content.repository, size, used, added),
        )
        content_id, before = rows[0][0], 0
    for repository in repositories:
        yield (
            "INSERT INTO cache_links (content_id, repository) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (content_id, repository),
        )
    if size != before:
        yield "UPDATE cache_total SET bytes = bytes + ?", (size - before,)


def forget(kept: Iterable[Kept]) -> Transaction[None]:
    """Remove contents, except those that were added again since they were read."""
    yield _LOCK
    yield from _delete(("id = ? AND added = ?", (one.id, one.added)) for one in kept)


def leave(kept: Kept, repositories: Iterable[str]) -> Transaction[None]:
    """Remove a content from some repositories, unless it was added again since it was read."""
    yield _LOCK
    for repository in repositories:
        yield (
            "DELETE FROM cache_links WHERE content_id = ? AND repository = ?"
            " AND EXISTS (SELECT 1 FROM cache_contents WHERE id = ? AND added = ?)",
            (kept.id, repository, kept.id, kept.added),
        )


def remove(content: Content, repositories: Iterable[str]) -> Transaction[bool]:
    """Remove a content from some repositories. Returns whether it was in no other."""
    yield _LOCK
    rows = yield (
        "SELECT id FROM cache_contents WHERE kind = ? AND digest = ? AND repository = ?",
        (content.kind, content.digest, content.repository),
    )
    if not rows:
        return False
    for repository in repositories:
        yield "DELETE FROM cache_links WHERE content_id = ? AND repository = ?", (rows[0][0], repository)
    return bool((yield from _delete_unlinked([rows[0][0]])))


def leave_alone(repository: str) -> Transaction[None]:
    """Remove all records of a repository's contents."""
    yield _LOCK
    rows = yield "DELETE FROM cache_links WHERE repository = ? RETURNING content_id", (repository,)
    yield from _delete_unlinked([row[0] for row in rows])


def note_uses(uses: Mapping[Content, float]) -> Transaction[None]:
    """Record the last uses of contents. Skips contents without an entry."""
    # In one order: several nodes do this at the same time.
    for content, used in sorted(uses.items(), key=lambda use: (use[0].digest, use[0].kind, use[0].repository)):
        yield (
            "UPDATE cache_contents SET used = ? WHERE kind = ? AND digest = ? AND repository = ? AND used < ?",
            (used, content.kind, content.digest, content.repository, used),
        )


def total() -> Transaction[int]:
    """Bytes of all contents."""
    rows = yield "SELECT bytes FROM cache_total", ()
    size: int = rows[0][0]
    return size


def locked_total() -> Transaction[int]:
    """Bytes of all contents. No content is added or removed before the end of the transaction."""
    yield _LOCK
    return (yield from total())


def least_used(limit: int) -> Transaction[list[Kept]]:
    """The least recently used contents, in this order."""
    return (yield from _kept("SELECT * FROM cache_contents ORDER BY used, id LIMIT ?", (limit,), "used, k.id"))


def kept_after(content_id: int, limit: int) -> Transaction[list[Kept]]:
    """Contents by row id, after the id `content_id`."""
    page = "SELECT * FROM cache_contents WHERE id > ? ORDER BY id LIMIT ?"
    return (yield from _kept(page, (content_id, limit), "id"))


def known(kind: Kind, digests: Sequence[str], repository: str) -> Transaction[set[str]]:
    """Those of the contents that are recorded for a repository."""
    marks = ", ".join("?" * len(digests))
    rows = yield (
        "SELECT k.digest FROM cache_contents k JOIN cache_links l ON l.content_id = k.id"
        f" WHERE k.kind = ? AND k.repository = ? AND l.repository = ? AND k.digest IN ({marks})",
        (kind, "" if kind == "blob" else repository, repository, *digests),
    )
    return {digest for (digest,) in rows}


def repository_with(digest: str) -> Transaction[str | None]:
    """A repository that has this blob."""
    rows = yield (
        "SELECT l.repository FROM cache_contents k JOIN cache_links l ON l.content_id = k.id"
        " WHERE k.kind = 'blob' AND k.digest = ? AND k.repository = '' LIMIT 1",
        (digest,),
    )
    return rows[0][0] if rows else None


def checked(repository: str, tag: str) -> Transaction[float]:
    """The time of the last answer of upstream about a tag, in seconds since 1970; 0 for never."""
    rows = yield "SELECT checked FROM cache_tags WHERE repository = ? AND tag = ?", (repository, tag)
    return float(rows[0][0]) if rows else 0.0


def check_tag(repository: str, tag: str, digest: str, now: float) -> Transaction[None]:
    """Record upstream's answer about a tag."""
    yield (
        "INSERT INTO cache_tags (repository, tag, digest, checked) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, checked = excluded.checked",
        (repository, tag, digest, now),
    )


def forget_tag(repository: str, tag: str) -> Transaction[None]:
    """Forget upstream's answer about a tag."""
    yield "DELETE FROM cache_tags WHERE repository = ? AND tag = ?", (repository, tag)


def _kept(page: str, parameters: tuple[Any, ...], order: str) -> Transaction[list[Kept]]:
    """The contents of a page. One statement reads them and their repositories, so that they belong together."""
    rows = yield (
        "SELECT k.id, k.kind, k.digest, k.repository, k.size, k.added, l.repository"
        f" FROM ({page}) AS k LEFT JOIN cache_links l ON l.content_id = k.id ORDER BY k.{order}, l.repository",
        parameters,
    )
    pages: dict[int, tuple[Row, list[str]]] = {}
    for row in rows:
        repositories = pages.setdefault(row[0], (row, []))[1]
        if row[6] is not None:
            repositories.append(row[6])
    return [
        Kept(number, Content(kind, digest, repository), size, added, tuple(repositories))
        for (number, kind, digest, repository, size, added, _), repositories in pages.values()
    ]


def _delete_unlinked(content_ids: Sequence[int]) -> Transaction[int]:
    return (
        yield from _delete(
            ("id = ? AND NOT EXISTS (SELECT 1 FROM cache_links WHERE content_id = ?)", (one, one))
            for one in content_ids
        )
    )


def _delete(conditions: Iterable[Statement]) -> Transaction[int]:
    """Delete contents, and the records of their tags. Returns how many there were."""
    count = freed = 0
    for condition, parameters in conditions:
        rows = yield (
            f"DELETE FROM cache_contents WHERE {condition} RETURNING kind, repository, digest, size",
            parameters,
        )
        for kind, repository, digest, size in rows:
            count += 1
            freed += size
            if kind == "manifest":
                yield "DELETE FROM cache_tags WHERE repository = ? AND digest = ?", (repository, digest)
    if freed:
        yield "UPDATE cache_total SET bytes = bytes - ?", (freed,)
    return count
