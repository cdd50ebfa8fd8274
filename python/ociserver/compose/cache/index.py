"""What the cache knows of the contents that it keeps: whose a repository is, how large they are, when they were used.

The contents themselves are in the local registry, which is the only truth about what can be served. What is lost
here is found again when it is used, except whose a repository is: that is synced before anything is kept in it.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ociserver.store.modes import PRIVATE, Modes

__all__ = ["Entry", "Index", "Kind", "Owner"]

Owner = Literal["upstream", "local"]
"""Who brought a repository's contents: the cache, or a push."""

Kind = Literal["blob", "manifest"]

BUSY_TIMEOUT_S: Final = 10.0
"""How long another process may hold the database; each of its transactions takes microseconds."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS repository (name TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS content (
    repository TEXT NOT NULL, digest TEXT NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL, used REAL NOT NULL,
    PRIMARY KEY (repository, digest, kind)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS content_used ON content (used);
CREATE INDEX IF NOT EXISTS content_digest ON content (digest);
CREATE TABLE IF NOT EXISTS tag (
    repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, checked REAL NOT NULL,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS total (bytes INTEGER NOT NULL);
INSERT INTO total SELECT 0 WHERE NOT EXISTS (SELECT * FROM total);
CREATE TRIGGER IF NOT EXISTS content_kept AFTER INSERT ON content BEGIN
    UPDATE total SET bytes = bytes + new.size; END;
CREATE TRIGGER IF NOT EXISTS content_forgotten AFTER DELETE ON content BEGIN
    UPDATE total SET bytes = bytes - old.size;
    DELETE FROM tag WHERE repository = old.repository AND digest = old.digest AND old.kind = 'manifest'; END;
"""

_USE: Final = """
INSERT INTO content SELECT name, ?2, ?3, ?4, ?5 FROM repository WHERE name = ?1 AND owner = 'upstream'
ON CONFLICT DO UPDATE SET used = excluded.used
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A content that is kept."""

    repository: str
    digest: str
    kind: Kind


class Index:
    """A small database of its own; several processes may use it together.

    Args:
        path: of its file; None keeps it in memory.
        modes: of the file, and of its log.
    """

    def __init__(self, path: Path | None, modes: Modes = PRIVATE) -> None:
        self._path = path
        self._modes = modes
        self._connection: sqlite3.Connection | None = None
        self._upstreams: set[str] = set()

    def open(self) -> None:
        """Make the tables, where they are missing."""
        if self._path is not None:
            self._modes.make_file(self._path)
        connection = sqlite3.connect(
            self._path or ":memory:", timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        self._connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # In one transaction: processes that start together would make them twice.
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def owner(self, repository: str) -> Owner | None:
        """Whose a repository is; None for nobody's so far."""
        if repository in self._upstreams:
            return "upstream"
        row: tuple[Owner] | None = self._one("SELECT owner FROM repository WHERE name = ?", repository)
        if row is not None and row[0] == "upstream":
            # For ever; and asked at each read.
            self._upstreams.add(repository)
        return row[0] if row else None

    def claim(self, repository: str, owner: Owner) -> tuple[Owner, bool]:
        """Give a repository to somebody, unless it has an owner; who has it now, and whether that is new."""
        known = self.owner(repository)
        if known is not None:
            return known, False
        # What is kept without its owner's name would be taken for a push after a power cut, and never be renewed.
        self._do("PRAGMA synchronous = FULL")
        added = self._do("INSERT OR IGNORE INTO repository VALUES (?, ?)", repository, owner)
        self._do("PRAGMA synchronous = NORMAL")
        return self.owner(repository) or owner, added == 1

    def release(self, repository: str) -> None:
        """Make a repository nobody's again."""
        self._do("DELETE FROM repository WHERE name = ?", repository)

    def use(self, entry: Entry, size: int, now: float) -> None:
        """Note that a content is kept and was used just now, if its repository is upstream's."""
        self._do(_USE, entry.repository, entry.digest, entry.kind, size, now)

    def forget(self, entry: Entry) -> None:
        """Note that a content is not kept any more."""
        self._do(
            "DELETE FROM content WHERE repository = ? AND digest = ? AND kind = ?",
            entry.repository,
            entry.digest,
            entry.kind,
        )

    def total(self) -> int:
        """Bytes of all that is kept; a content counts once for each of its repositories."""
        row = self._one("SELECT bytes FROM total")
        assert row
        return int(row[0])

    def oldest(self) -> Entry | None:
        """What has not been used for the longest time."""
        row: tuple[str, str, Kind] | None = self._one(
            "SELECT repository, digest, kind FROM content ORDER BY used LIMIT 1"
        )
        return Entry(*row) if row else None

    def elsewhere(self, digest: str) -> str | None:
        """A repository that has this blob."""
        row = self._one("SELECT repository FROM content WHERE digest = ? AND kind = 'blob' LIMIT 1", digest)
        return row[0] if row else None

    def checked(self, repository: str, tag: str) -> float:
        """When upstream was last asked about a tag; 0 for never."""
        row = self._one("SELECT checked FROM tag WHERE repository = ? AND tag = ?", repository, tag)
        return float(row[0]) if row else 0.0

    def check(self, repository: str, tag: str, digest: str, now: float) -> None:
        """Note what upstream has said of a tag."""
        self._do("INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?)", repository, tag, digest, now)

    def forget_tag(self, repository: str, tag: str) -> None:
        """Note that a tag has to be asked for again."""
        self._do("DELETE FROM tag WHERE repository = ? AND tag = ?", repository, tag)

    def _one(self, statement: str, *values: str | float) -> Any:
        return self._opened().execute(statement, values).fetchone()

    def _do(self, statement: str, *values: str | float) -> int:
        return self._opened().execute(statement, values).rowcount

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the cache is not open: use it in `async with`")
        return self._connection
