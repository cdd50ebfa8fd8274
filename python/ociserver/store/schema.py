"""The tables, and the migrations of older folders.

The statements are written for SQLite and PostgreSQL: the words in braces stand for what differs: types, and the primary
key, which SQLite has in every index anyway. An index needs it where pages are read in its order, because many rows may
have the same second. Times are whole
seconds since 1970. Digests are always in the text form of the spec.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ociserver.store.rereading import reread_manifests
from ociserver.store.transaction import Transaction

__all__ = ["CACHE", "MIGRATIONS", "REGISTRY", "Migration", "Schema"]

Migration = tuple[str | Callable[[], Transaction[None]], ...]
"""The steps from one version to the next: statements, and functions that read the tables."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database.

    Args:
        migrations: one for each version, in order. The version of a database is the number of its migrations.
        table: a table that every version has. A database without it belongs to another program.
        oldest_reader: the oldest version whose programs can use tables of the newest version, beside newer programs:
            while nodes are upgraded one after another. 0: only the newest one can.
    """

    migrations: tuple[Migration, ...]
    table: str
    oldest_reader: int = 0

    @property
    def version(self) -> int:
        """The newest version."""
        return len(self.migrations)


CACHE: Final[Migration] = (
    # The owner of a repository: upstream or local.
    "CREATE TABLE cache_repositories (name {text} PRIMARY KEY, owner {text} NOT NULL){without_rowid}",
    # A content of upstream that is kept: a blob, with an empty `repository` because it counts once for all of them, or
    # the manifest of a repository. `size` is what it takes. `used` and `added` are when it was used last, in seconds,
    # and kept last, in nanoseconds.
    (
        "CREATE TABLE cache_contents (id {identity}, kind {text} NOT NULL, digest {text} NOT NULL,"
        " repository {text} NOT NULL, size BIGINT NOT NULL, used DOUBLE PRECISION NOT NULL, added BIGINT NOT NULL,"
        " UNIQUE (kind, digest, repository))"
    ),
    "CREATE INDEX cache_contents_used ON cache_contents (used{and_id})",
    # The repositories that have a content.
    (
        "CREATE TABLE cache_links (content_id BIGINT NOT NULL REFERENCES cache_contents ON DELETE CASCADE,"
        " repository {text} NOT NULL, PRIMARY KEY (content_id, repository)){without_rowid}"
    ),
    # Upstream's last answer about a tag, and its time in seconds.
    (
        "CREATE TABLE cache_tags (repository {text} NOT NULL, tag {text} NOT NULL, digest {text} NOT NULL,"
        " checked DOUBLE PRECISION NOT NULL, PRIMARY KEY (repository, tag)){without_rowid}"
    ),
    # The sum of the sizes. Whoever changes it locks this row first.
    "CREATE TABLE cache_total (bytes BIGINT NOT NULL)",
    "INSERT INTO cache_total (bytes) VALUES (0)",
)
"""The index of a cache, which keeps its contents in the registry."""

MIGRATIONS: Final[tuple[Migration, ...]] = (
    (
        "CREATE TABLE repositories (id {identity}, name {text} NOT NULL UNIQUE)",
        # A stored copy of a content. A small one is in `content`, others are in the file named by `key`. A key is never
        # used again. `idle_since` is when the last link to the copy was removed. `bad` marks a corrupt copy, which the
        # next push replaces.
        (
            "CREATE TABLE copies (id {identity}, digest {text} NOT NULL UNIQUE, size BIGINT NOT NULL,"
            " key {text} UNIQUE, idle_since BIGINT, bad INTEGER NOT NULL DEFAULT 0, content {bytes},"
            " CHECK ((key IS NULL) <> (content IS NULL)))"
        ),
        "CREATE INDEX copies_idle ON copies (idle_since{and_id}) WHERE idle_since IS NOT NULL",
        # A blob is a link of a repository to a copy. `renewed` is when it was last pushed, mounted or requested.
        (
            "CREATE TABLE links (repository_id BIGINT NOT NULL REFERENCES repositories, copy_id BIGINT NOT NULL"
            " REFERENCES copies, renewed BIGINT NOT NULL, PRIMARY KEY (repository_id, copy_id)){without_rowid}"
        ),
        "CREATE INDEX links_copy ON links (copy_id)",
        "CREATE INDEX links_renewed ON links (renewed{and_link})",
        # `kind` is image, index, other or opaque. In a repository with an opaque manifest, all blobs count as
        # referenced.
        (
            "CREATE TABLE manifests (id {identity}, repository_id BIGINT NOT NULL REFERENCES repositories,"
            " digest {text} NOT NULL, media_type {text} NOT NULL, kind {text} NOT NULL, size BIGINT NOT NULL,"
            " pushed BIGINT NOT NULL, subject {text}, artifact_type {text}, annotations {json},"
            " content {bytes} NOT NULL, UNIQUE (repository_id, digest))"
        ),
        "CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL",
        (
            "CREATE INDEX manifests_artifact_type ON manifests (repository_id, subject, artifact_type, digest)"
            " WHERE subject IS NOT NULL"
        ),
        "CREATE INDEX manifests_opaque ON manifests (repository_id) WHERE kind = 'opaque'",
        # What a manifest references, without its subject. The columns of the key come first: if others do, the
        # integrity check of SQLite 3.40 takes them for NULL.
        (
            "CREATE TABLE refs (manifest_id BIGINT NOT NULL REFERENCES manifests ON DELETE CASCADE,"
            " digest {text} NOT NULL, repository_id BIGINT NOT NULL, PRIMARY KEY (manifest_id, digest)){without_rowid}"
        ),
        "CREATE INDEX refs_digest ON refs (repository_id, digest)",
        (
            "CREATE TABLE tags (repository_id BIGINT NOT NULL REFERENCES repositories, name {text} NOT NULL,"
            " manifest_id BIGINT NOT NULL REFERENCES manifests ON DELETE CASCADE, PRIMARY KEY (repository_id, name))"
            "{without_rowid}"
        ),
        "CREATE INDEX tags_manifest ON tags (manifest_id)",
        # An upload. Its id is also the key of its file. `state` is the state of the hash over the first `size` bytes of
        # the file, which may have more bytes; or all bytes of the upload, while these are few.
        (
            "CREATE TABLE uploads (id {text} PRIMARY KEY, repository_id BIGINT NOT NULL REFERENCES repositories,"
            " algorithm {text} NOT NULL, size BIGINT NOT NULL, state {bytes} NOT NULL, touched BIGINT NOT NULL)"
            "{without_rowid}"
        ),
        "CREATE INDEX uploads_touched ON uploads (touched{and_id})",
    ),
    (
        # A repository is listed if it has a blob or a manifest. This is a column, so that the cost of a page of the
        # catalog does not depend on the number of empty repositories.
        "ALTER TABLE repositories ADD COLUMN listed INTEGER NOT NULL DEFAULT 0",
        (
            "UPDATE repositories SET listed = 1"
            " WHERE EXISTS (SELECT 1 FROM links WHERE repository_id = repositories.id)"
            " OR EXISTS (SELECT 1 FROM manifests WHERE repository_id = repositories.id)"
        ),
        "CREATE INDEX repositories_listed ON repositories (name) WHERE listed = 1",
        # When a manifest was last pushed, requested by HEAD, or lost a tag: the age of an untagged manifest is counted
        # from then.
        "ALTER TABLE manifests RENAME COLUMN pushed TO renewed",
        reread_manifests,
    ),
    (
        # An API key. `hash` is the SHA-256 of its secret; `rights` is a JSON object: repositories, allow, tags. `used`
        # is recorded to the minute.
        (
            "CREATE TABLE api_keys (name {text} PRIMARY KEY, hash {text} NOT NULL UNIQUE, rights {text} NOT NULL,"
            " expires BIGINT, created BIGINT NOT NULL, used BIGINT){without_rowid}"
        ),
        # Changes of the keys, until a server writes them into its audit log.
        (
            "CREATE TABLE api_key_events (id {identity}, at BIGINT NOT NULL, event {text} NOT NULL,"
            " name {text} NOT NULL, by_user {text} NOT NULL, facts {text} NOT NULL)"
        ),
    ),
    (
        # Who writes to an upload, where a file lock cannot say it, and until when without a renewal.
        (
            "CREATE TABLE holds (upload_id {text} PRIMARY KEY REFERENCES uploads ON DELETE CASCADE,"
            " holder {text} NOT NULL, until BIGINT NOT NULL){without_rowid}"
        ),
        # An object in a bucket that no copy names. It is recorded before it is made. While its upload exists, the
        # upload may need it. Afterwards nothing does, and collection deletes it. `multipart` is its multipart upload.
        (
            "CREATE TABLE objects (key {text} PRIMARY KEY, multipart {text},"
            " upload_id {text} REFERENCES uploads ON DELETE SET NULL, since BIGINT NOT NULL){without_rowid}"
        ),
        "CREATE INDEX objects_upload ON objects (upload_id) WHERE upload_id IS NOT NULL",
    ),
    CACHE,
)
"""See `Schema.migrations`."""

REGISTRY: Final = Schema(MIGRATIONS, "copies", oldest_reader=4)
"""The tables of a registry."""
