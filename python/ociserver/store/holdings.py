"""Reads which contents repositories hold: for many contents at once, and page by page."""

from __future__ import annotations

from collections.abc import Sequence

from ociserver.store.transaction import Row, Transaction

__all__ = ["blobs_after", "linked", "manifests_after", "present", "repositories_of"]


def linked(digests: Sequence[str]) -> Transaction[dict[str, dict[str, bool]]]:
    """The repositories that link each of some blobs, by digest, and whether a check has marked its copy as corrupt."""
    marks = ", ".join("?" * len(digests))
    rows = yield (
        "SELECT c.digest, r.name, c.bad FROM copies c JOIN links l ON l.copy_id = c.id"
        f" JOIN repositories r ON r.id = l.repository_id WHERE c.digest IN ({marks})",
        tuple(digests),
    )
    found: dict[str, dict[str, bool]] = {}
    for digest, repository, bad in rows:
        found.setdefault(digest, {})[repository] = bool(bad)
    return found


def present(manifests: Sequence[tuple[str, str]]) -> Transaction[set[tuple[str, str]]]:
    """Those of some manifests, (repository, digest), that exist."""
    if not manifests:
        return set()
    wanted = ", ".join(["(?, ?)"] * len(manifests))
    rows = yield (
        # Both databases name the columns of VALUES like this.
        f"SELECT w.column1, w.column2 FROM (VALUES {wanted}) AS w JOIN repositories r ON r.name = w.column1"
        " JOIN manifests m ON m.repository_id = r.id AND m.digest = w.column2",
        tuple(value for manifest in manifests for value in manifest),
    )
    return {(repository, digest) for repository, digest in rows}


def repositories_of(names: Sequence[str]) -> Transaction[set[str]]:
    """Those of some repositories that exist."""
    marks = ", ".join("?" * len(names))
    rows = yield f"SELECT name FROM repositories WHERE name IN ({marks})", tuple(names)
    return {name for (name,) in rows}


def blobs_after(repository: str, copy_id: int, limit: int) -> Transaction[list[Row]]:
    """(copy id, digest, size) of the blobs of a repository with a larger copy id."""
    return (
        yield (
            "SELECT c.id, c.digest, c.size FROM links l JOIN copies c ON c.id = l.copy_id"
            " WHERE l.repository_id = (SELECT id FROM repositories WHERE name = ?) AND l.copy_id > ? AND c.id > ?"
            " ORDER BY l.copy_id LIMIT ?",
            (repository, copy_id, copy_id, limit),  # twice: PostgreSQL does not know that it is also true of the copy
        )
    )


def manifests_after(repository: str, digest: str, limit: int) -> Transaction[list[Row]]:
    """(digest, size) of the manifests of a repository with a larger digest."""
    return (
        yield (
            "SELECT digest, size FROM manifests WHERE repository_id = (SELECT id FROM repositories WHERE name = ?)"
            " AND digest > ? ORDER BY digest LIMIT ?",
            (repository, digest, limit),
        )
    )
