"""The tables, and how an older folder gets them.

Written for SQLite and PostgreSQL alike; the words in braces are where their types differ.
Times are whole seconds since 1970. Digests are the spec's text form everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ociserver.store.rereading import reread_manifests
from ociserver.store.work import Work

__all__ = ["MIGRATIONS", "REGISTRY", "Schema"]

Migration = tuple[str | Callable[[], Work[None]], ...]
"""The steps from one version to the next: statements, and what reads the tables itself."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database.

    Args:
        migrations: one for each version, in order; a database's version is how many it has had.
        table: a table that every version has. A database without it belongs to another program.
        unversioned: the version of a database that has this table and no number: it was written before there were
            numbers. 0: there is no such database.
    """

    migrations: tuple[Migration, ...]
    table: str
    unversioned: int = 0

    @property
    def version(self) -> int:
        """The newest version."""
        return len(self.migrations)


MIGRATIONS: Final[tuple[Migration, ...]] = (
    (
        "CREATE TABLE repositories (id {identity}, name TEXT NOT NULL UNIQUE)",
        # A stored copy of a content: small ones in `content`, others in the file named by `key`, which is
        # written once and never used again. `idle_since` is when the last link to it went; `bad` marks rot, which a
        # re-push heals.
        (
            "CREATE TABLE copies (id {identity}, digest TEXT NOT NULL UNIQUE, size BIGINT NOT NULL, key TEXT UNIQUE,"
            " idle_since BIGINT, bad INTEGER NOT NULL DEFAULT 0, content {bytes},"
            " CHECK ((key IS NULL) <> (content IS NULL)))"
        ),
        "CREATE INDEX copies_idle ON copies (idle_since) WHERE idle_since IS NOT NULL",
        # A blob is a link of a repository to a copy. `renewed` is when it was last pushed, mounted or asked for.
        (
            "CREATE TABLE links (repository_id BIGINT NOT NULL REFERENCES repositories, copy_id BIGINT NOT NULL"
            " REFERENCES copies, renewed BIGINT NOT NULL, PRIMARY KEY (repository_id, copy_id)){without_rowid}"
        ),
        "CREATE INDEX links_copy ON links (copy_id)",
        "CREATE INDEX links_renewed ON links (renewed)",
        # `kind` is image, index, other or opaque; nothing of a repository with an opaque one is unlinked by reference.
        (
            "CREATE TABLE manifests (id {identity}, repository_id BIGINT NOT NULL REFERENCES repositories,"
            " digest TEXT NOT NULL, media_type TEXT NOT NULL, kind TEXT NOT NULL, size BIGINT NOT NULL,"
            " pushed BIGINT NOT NULL, subject TEXT, artifact_type TEXT, annotations TEXT, content {bytes} NOT NULL,"
            " UNIQUE (repository_id, digest))"
        ),
        "CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL",
        (
            "CREATE INDEX manifests_artifact_type ON manifests (repository_id, subject, artifact_type, digest)"
            " WHERE subject IS NOT NULL"
        ),
        "CREATE INDEX manifests_opaque ON manifests (repository_id) WHERE kind = 'opaque'",
        # What a manifest references, its subject apart. The key's columns come first: SQLite 3.40 takes others
        # before them for NULL when it checks itself.
        (
            "CREATE TABLE refs (manifest_id BIGINT NOT NULL REFERENCES manifests ON DELETE CASCADE,"
            " digest TEXT NOT NULL, repository_id BIGINT NOT NULL, PRIMARY KEY (manifest_id, digest)){without_rowid}"
        ),
        "CREATE INDEX refs_digest ON refs (repository_id, digest)",
        (
            "CREATE TABLE tags (repository_id BIGINT NOT NULL REFERENCES repositories, name TEXT NOT NULL,"
            " manifest_id BIGINT NOT NULL REFERENCES manifests ON DELETE CASCADE, PRIMARY KEY (repository_id, name))"
            "{without_rowid}"
        ),
        "CREATE INDEX tags_manifest ON tags (manifest_id)",
        # An upload under way. Its file's key is its id; `state` is the blob part's own, of the first `size` bytes of
        # the file, which may have more, or all that has come while that is little.
        (
            "CREATE TABLE uploads (id TEXT PRIMARY KEY, repository_id BIGINT NOT NULL REFERENCES repositories,"
            " algorithm TEXT NOT NULL, size BIGINT NOT NULL, state {bytes} NOT NULL, touched BIGINT NOT NULL)"
            "{without_rowid}"
        ),
        "CREATE INDEX uploads_touched ON uploads (touched)",
    ),
    (
        # A repository is listed if it has a blob or a manifest. A column, so that a page of the catalog costs a page,
        # however many repositories have been emptied.
        "ALTER TABLE repositories ADD COLUMN listed INTEGER NOT NULL DEFAULT 0",
        (
            "UPDATE repositories SET listed = 1"
            " WHERE EXISTS (SELECT 1 FROM links WHERE repository_id = repositories.id)"
            " OR EXISTS (SELECT 1 FROM manifests WHERE repository_id = repositories.id)"
        ),
        "CREATE INDEX repositories_listed ON repositories (name) WHERE listed = 1",
        # When a manifest was last pushed, asked for by HEAD, or lost a tag: what the age of an untagged one is counted
        # from.
        "ALTER TABLE manifests RENAME COLUMN pushed TO renewed",
        reread_manifests,
    ),
)
"""See `Schema.migrations`."""

REGISTRY: Final = Schema(MIGRATIONS, "copies")
"""The tables of a registry."""
