"""The tables of the cache's index, `cache.db`."""

from __future__ import annotations

from typing import Final

from ociserver.store.schema import Schema

__all__ = ["INDEX"]

_FIRST: Final = (
    # The owner of a repository: upstream or local.
    "CREATE TABLE repository (name TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID",
    (
        "CREATE TABLE content (repository TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL,"
        " size INTEGER NOT NULL, used REAL NOT NULL, PRIMARY KEY (repository, digest, kind)) WITHOUT ROWID"
    ),
    "CREATE INDEX content_used ON content (used)",
    "CREATE INDEX content_digest ON content (digest)",
    # Upstream's last answer about a tag, and its time.
    (
        "CREATE TABLE tag (repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, checked REAL NOT NULL,"
        " PRIMARY KEY (repository, tag)) WITHOUT ROWID"
    ),
    "CREATE TABLE total (bytes INTEGER NOT NULL)",
    "INSERT INTO total VALUES (0)",
)
"""The tables before they had a version. A content counted once for each of its repositories."""

_ONCE: Final = (
    # A content of upstream that is kept: a blob, with an empty `repository` because it counts once for all of them, or
    # the manifest of a repository. `size` is what it takes on the disk. `added` is when it was kept last.
    (
        "CREATE TABLE kept (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, digest TEXT NOT NULL, repository TEXT NOT NULL,"
        " size INTEGER NOT NULL, used REAL NOT NULL, added INTEGER NOT NULL, UNIQUE (kind, digest, repository))"
    ),
    "CREATE INDEX kept_used ON kept (used)",
    # The repositories that have a content.
    (
        "CREATE TABLE kept_in (kept_id INTEGER NOT NULL REFERENCES kept ON DELETE CASCADE, repository TEXT NOT NULL,"
        " PRIMARY KEY (kept_id, repository)) WITHOUT ROWID"
    ),
    "UPDATE total SET bytes = 0",
    ("CREATE TRIGGER kept_added AFTER INSERT ON kept BEGIN UPDATE total SET bytes = bytes + new.size; END"),
    (
        "CREATE TRIGGER kept_changed AFTER UPDATE OF size ON kept BEGIN"
        " UPDATE total SET bytes = bytes + new.size - old.size; END"
    ),
    (
        "CREATE TRIGGER kept_forgotten AFTER DELETE ON kept BEGIN UPDATE total SET bytes = bytes - old.size;"
        " DELETE FROM tag WHERE old.kind = 'manifest' AND repository = old.repository AND digest = old.digest; END"
    ),
    (
        "INSERT INTO kept (kind, digest, repository, size, used, added)"
        " SELECT kind, digest, CASE kind WHEN 'blob' THEN '' ELSE repository END, MAX(size), MAX(used), 0 FROM content"
        " GROUP BY 1, 2, 3"
    ),
    (
        "INSERT INTO kept_in SELECT k.id, c.repository FROM content c JOIN kept k ON k.kind = c.kind"
        " AND k.digest = c.digest AND k.repository = CASE c.kind WHEN 'blob' THEN '' ELSE c.repository END"
    ),
    "DROP TABLE content",
)

INDEX: Final = Schema((_FIRST, _ONCE), "repository", unversioned=1)
"""The schema of an index."""
