"""The SQL of the index. Each function is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ociserver.store.transaction import Row, Transaction

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

_DELETE_UNLESS_KEPT: Final = (
    "DELETE FROM kept WHERE id = ? AND NOT EXISTS (SELECT 1 FROM kept_in WHERE kept_id = ?) RETURNING id"
)


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
        size: bytes that it takes on the disk.
        added: when it was added last, in nanoseconds since 1970.
        repositories: that have it.
    """

    id: int
    content: Content
    size: int
    added: int
    repositories: tuple[str, ...]


def owner_of(repository: str) -> Transaction[Owner | None]:
    rows = yield "SELECT owner FROM repository WHERE name = ?", (repository,)
    return rows[0][0] if rows else None


def claim(repository: str, owner: Owner) -> Transaction[tuple[Owner, bool]]:
    """Set the owner of a repository that has none. Returns the owner, and whether this call has set it."""
    rows = yield (
        "INSERT INTO repository (name, owner) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING owner",
        (repository, owner),
    )
    if rows:
        return owner, True
    found = yield from owner_of(repository)
    assert found
    return found, False


def release(repositories: Iterable[str]) -> Transaction[None]:
    """Remove the owner of local repositories."""
    for repository in repositories:
        yield "DELETE FROM repository WHERE name = ? AND owner = 'local'", (repository,)


def owned_after(owner: Owner, name: str, limit: int) -> Transaction[list[str]]:
    """Repositories of an owner, in order, after a name."""
    rows = yield (
        "SELECT name FROM repository WHERE owner = ? AND name > ? ORDER BY name LIMIT ?",
        (owner, name, limit),
    )
    return [row[0] for row in rows]


def add(content: Content, repository: str, size: int, used: float, added: int) -> Transaction[None]:
    """Record that a repository has a content."""
    rows = yield (
        "INSERT INTO kept (kind, digest, repository, size, used, added) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (kind, digest, repository) DO UPDATE SET size = excluded.size,"
        " used = MAX(used, excluded.used), added = excluded.added RETURNING id",
        (content.kind, content.digest, content.repository, size, used, added),
    )
    yield "INSERT INTO kept_in VALUES (?, ?) ON CONFLICT DO NOTHING", (rows[0][0], repository)


def forget(kept: Iterable[Kept]) -> Transaction[None]:
    """Remove contents, except those that were added again since they were read."""
    for one in kept:
        yield "DELETE FROM kept WHERE id = ? AND added = ?", (one.id, one.added)


def leave(kept: Kept, repositories: Iterable[str]) -> Transaction[None]:
    """Remove a content from some repositories, unless it was added again since it was read."""
    for repository in repositories:
        yield (
            "DELETE FROM kept_in WHERE kept_id = ? AND repository = ?"
            " AND EXISTS (SELECT 1 FROM kept WHERE id = ? AND added = ?)",
            (kept.id, repository, kept.id, kept.added),
        )


def remove(content: Content, repositories: Iterable[str]) -> Transaction[bool]:
    """Remove a content from some repositories. Returns whether it was in no other."""
    rows = yield (
        "SELECT id FROM kept WHERE kind = ? AND digest = ? AND repository = ?",
        (content.kind, content.digest, content.repository),
    )
    if not rows:
        return False
    kept_id = rows[0][0]
    for repository in repositories:
        yield "DELETE FROM kept_in WHERE kept_id = ? AND repository = ?", (kept_id, repository)
    rows = yield _DELETE_UNLESS_KEPT, (kept_id, kept_id)
    return bool(rows)


def leave_alone(repository: str) -> Transaction[None]:
    """Remove all records of a repository's contents."""
    rows = yield "DELETE FROM kept_in WHERE repository = ? RETURNING kept_id", (repository,)
    for (kept_id,) in rows:
        yield _DELETE_UNLESS_KEPT, (kept_id, kept_id)


def note_uses(uses: Mapping[Content, float]) -> Transaction[None]:
    """Record the last uses of contents. Skips contents without an entry."""
    for content, used in uses.items():
        yield (
            "UPDATE kept SET used = ? WHERE kind = ? AND digest = ? AND repository = ? AND used < ?",
            (used, content.kind, content.digest, content.repository, used),
        )


def total() -> Transaction[int]:
    """Bytes of all contents."""
    rows = yield "SELECT bytes FROM total", ()
    size: int = rows[0][0]
    return size


def least_used(limit: int) -> Transaction[list[Kept]]:
    """The least recently used contents, in this order."""
    rows = yield f"SELECT {_COLUMNS} FROM kept k ORDER BY k.used LIMIT ?", (limit,)
    return _kept(rows)


def kept_after(kept_id: int, limit: int) -> Transaction[list[Kept]]:
    """Contents by row id, after the id `kept_id`."""
    rows = yield f"SELECT {_COLUMNS} FROM kept k WHERE k.id > ? ORDER BY k.id LIMIT ?", (kept_id, limit)
    return _kept(rows)


def known(contents: Sequence[Content], repository: str) -> Transaction[set[Content]]:
    """Those of the contents that are recorded for a repository."""
    found: set[Content] = set()
    for content in contents:
        rows = yield (
            "SELECT 1 FROM kept k JOIN kept_in i ON i.kept_id = k.id"
            " WHERE k.kind = ? AND k.digest = ? AND k.repository = ? AND i.repository = ?",
            (content.kind, content.digest, content.repository, repository),
        )
        if rows:
            found.add(content)
    return found


def repository_with(digest: str) -> Transaction[str | None]:
    """A repository that has this blob."""
    rows = yield (
        "SELECT i.repository FROM kept k JOIN kept_in i ON i.kept_id = k.id"
        " WHERE k.kind = 'blob' AND k.digest = ? AND k.repository = '' LIMIT 1",
        (digest,),
    )
    return rows[0][0] if rows else None


def checked(repository: str, tag: str) -> Transaction[float]:
    """The time of the last answer of upstream about a tag, in seconds since 1970; 0 for never."""
    rows = yield "SELECT checked FROM tag WHERE repository = ? AND tag = ?", (repository, tag)
    return float(rows[0][0]) if rows else 0.0


def check_tag(repository: str, tag: str, digest: str, now: float) -> Transaction[None]:
    """Record upstream's answer about a tag."""
    yield (
        "INSERT INTO tag (repository, tag, digest, checked) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, checked = excluded.checked",
        (repository, tag, digest, now),
    )


def forget_tag(repository: str, tag: str) -> Transaction[None]:
    """Forget upstream's answer about a tag."""
    yield "DELETE FROM tag WHERE repository = ? AND tag = ?", (repository, tag)


_COLUMNS = (
    "k.id, k.kind, k.digest, k.repository, k.size, k.added,"
    # A repository's name contains no space.
    " (SELECT GROUP_CONCAT(i.repository, ' ') FROM kept_in i WHERE i.kept_id = k.id)"
)


def _kept(rows: list[Row]) -> list[Kept]:
    return [
        Kept(number, Content(kind, digest, repository), size, added, tuple((names or "").split()))
        for number, kind, digest, repository, size, added, names in rows
    ]
