"""What the cache asks its index, and what it changes there: each function is one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ociserver.store.work import Row, Work

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
"""Who brought a repository's contents: the cache, or a push."""

Kind = Literal["blob", "manifest"]


@dataclass(frozen=True, slots=True)
class Content:
    """What is kept and counted: a blob, once for all repositories that have it, or the manifest of a repository."""

    kind: Kind
    digest: str
    repository: str = ""
    """Empty for a blob."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A content as the index has it.

    Args:
        id: of its row.
        content: what it is.
        size: bytes that it takes.
        added: names the time when it was kept last.
        repositories: that have it.
    """

    id: int
    content: Content
    size: int
    added: int
    repositories: tuple[str, ...]


def owner_of(repository: str) -> Work[Owner | None]:
    rows = yield "SELECT owner FROM repository WHERE name = ?", (repository,)
    return rows[0][0] if rows else None


def claim(repository: str, owner: Owner) -> Work[tuple[Owner, bool]]:
    """Give a repository to somebody, unless it has an owner; who has it now, and whether that is new."""
    rows = yield (
        "INSERT INTO repository (name, owner) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING owner",
        (repository, owner),
    )
    if rows:
        return owner, True
    found = yield from owner_of(repository)
    assert found
    return found, False


def release(repositories: Iterable[str], owner: Owner) -> Work[None]:
    """Make repositories of an owner nobody's again."""
    for repository in repositories:
        yield "DELETE FROM repository WHERE name = ? AND owner = ?", (repository, owner)


def owned_after(owner: Owner, name: str, limit: int) -> Work[list[str]]:
    """Repositories of an owner, after one."""
    rows = yield (
        "SELECT name FROM repository WHERE owner = ? AND name > ? ORDER BY name LIMIT ?",
        (owner, name, limit),
    )
    return [row[0] for row in rows]


def add(content: Content, repository: str, size: int, used: float, added: int) -> Work[None]:
    """Note that a content is kept in a repository."""
    rows = yield (
        "INSERT INTO kept (kind, digest, repository, size, used, added) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (kind, digest, repository) DO UPDATE SET size = excluded.size,"
        " used = MAX(used, excluded.used), added = excluded.added RETURNING id",
        (content.kind, content.digest, content.repository, size, used, added),
    )
    yield "INSERT INTO kept_in VALUES (?, ?) ON CONFLICT DO NOTHING", (rows[0][0], repository)


def forget(kept: Iterable[Kept]) -> Work[None]:
    """Note that contents are not kept any more, but for those that were kept again since they were looked at."""
    for one in kept:
        yield "DELETE FROM kept WHERE id = ? AND added = ?", (one.id, one.added)


def leave(kept: Kept, repositories: Iterable[str]) -> Work[None]:
    """Note that a content is not in some repositories any more, unless it was kept again since it was looked at."""
    for repository in repositories:
        yield (
            "DELETE FROM kept_in WHERE kept_id = ? AND repository = ?"
            " AND EXISTS (SELECT 1 FROM kept WHERE id = ? AND added = ?)",
            (kept.id, repository, kept.id, kept.added),
        )


def remove(content: Content, repositories: Iterable[str]) -> Work[bool]:
    """Note that a content is not in some repositories any more; whether it is in no other, and so not kept."""
    rows = yield (
        "SELECT id FROM kept WHERE kind = ? AND digest = ? AND repository = ?",
        (content.kind, content.digest, content.repository),
    )
    if not rows:
        return False
    kept_id = rows[0][0]
    for repository in repositories:
        yield "DELETE FROM kept_in WHERE kept_id = ? AND repository = ?", (kept_id, repository)
    rows = yield (
        "DELETE FROM kept WHERE id = ? AND NOT EXISTS (SELECT 1 FROM kept_in WHERE kept_id = ?) RETURNING id",
        (kept_id, kept_id),
    )
    return bool(rows)


def leave_alone(repository: str) -> Work[None]:
    """Note nothing of a repository any more."""
    rows = yield "DELETE FROM kept_in WHERE repository = ? RETURNING kept_id", (repository,)
    for (kept_id,) in rows:
        yield (
            "DELETE FROM kept WHERE id = ? AND NOT EXISTS (SELECT 1 FROM kept_in WHERE kept_id = ?)",
            (kept_id, kept_id),
        )


def note_uses(uses: Mapping[Content, float]) -> Work[None]:
    """Note when contents were used last; what is not kept is skipped."""
    for content, used in uses.items():
        yield (
            "UPDATE kept SET used = ? WHERE kind = ? AND digest = ? AND repository = ? AND used < ?",
            (used, content.kind, content.digest, content.repository, used),
        )


def total() -> Work[int]:
    """Bytes of all that is kept."""
    rows = yield "SELECT bytes FROM total", ()
    size: int = rows[0][0]
    return size


def least_used(limit: int) -> Work[list[Kept]]:
    """What has not been used for the longest time, in this order."""
    rows = yield f"SELECT {_COLUMNS} FROM kept k ORDER BY k.used LIMIT ?", (limit,)
    return _kept(rows)


def kept_after(kept_id: int, limit: int) -> Work[list[Kept]]:
    """What is kept, after one, in the order of rows."""
    rows = yield f"SELECT {_COLUMNS} FROM kept k WHERE k.id > ? ORDER BY k.id LIMIT ?", (kept_id, limit)
    return _kept(rows)


def known(contents: Sequence[Content], repository: str) -> Work[set[Content]]:
    """Which of some contents are noted to be in a repository."""
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


def repository_with(digest: str) -> Work[str | None]:
    """A repository that has this blob."""
    rows = yield (
        "SELECT i.repository FROM kept k JOIN kept_in i ON i.kept_id = k.id"
        " WHERE k.kind = 'blob' AND k.digest = ? AND k.repository = '' LIMIT 1",
        (digest,),
    )
    return rows[0][0] if rows else None


def checked(repository: str, tag: str) -> Work[float]:
    """When upstream was last asked about a tag; 0 for never."""
    rows = yield "SELECT checked FROM tag WHERE repository = ? AND tag = ?", (repository, tag)
    return float(rows[0][0]) if rows else 0.0


def check_tag(repository: str, tag: str, digest: str, now: float) -> Work[None]:
    """Note what upstream has said of a tag."""
    yield (
        "INSERT INTO tag (repository, tag, digest, checked) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (repository, tag) DO UPDATE SET digest = excluded.digest, checked = excluded.checked",
        (repository, tag, digest, now),
    )


def forget_tag(repository: str, tag: str) -> Work[None]:
    """Note that a tag has to be asked for again."""
    yield "DELETE FROM tag WHERE repository = ? AND tag = ?", (repository, tag)


_COLUMNS = (
    "k.id, k.kind, k.digest, k.repository, k.size, k.added,"
    # No repository's name has a space in it.
    " (SELECT GROUP_CONCAT(i.repository, ' ') FROM kept_in i WHERE i.kept_id = k.id)"
)


def _kept(rows: list[Row]) -> list[Kept]:
    return [
        Kept(number, Content(kind, digest, repository), size, added, tuple((names or "").split()))
        for number, kind, digest, repository, size, added, names in rows
    ]
