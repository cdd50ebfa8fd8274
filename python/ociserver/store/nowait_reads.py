"""Reads in other threads than the event loop's, which do not wait and leave what would wait to the event loop."""

from __future__ import annotations

from array import array
from typing import Final

from ociserver.errors import OCIError
from ociserver.interface import Manifest
from ociserver.store import reads
from ociserver.store.read_cache import ReadCache
from ociserver.store.reads import Link, Resolved
from ociserver.store.transaction import Metadata, Row, Statement

__all__ = ["NowaitReads"]

SLOTS: Final = 1 << 16
"""Blobs that are remembered to be in files, 8 bytes each."""


class NowaitReads:
    """Reads from the database in any thread other than the event loop's. None: the event loop has to answer.

    Results go into the read cache. Each method raises NAME_UNKNOWN, and MANIFEST_UNKNOWN or BLOB_UNKNOWN.
    """

    def __init__(self, database: Metadata, read_cache: ReadCache) -> None:
        self._database = database
        self._read_cache = read_cache
        # Hashes of digests. Each can be in one slot only; if another hash has replaced it, the database is read again.
        self._in_files = array("q", bytes(8 * SLOTS))

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest by tag or digest. Also None if it is large."""
        generation = self._read_cache.begin()
        row = self._row(reads.small_manifest(repository, reference), repository, "MANIFEST_UNKNOWN")
        if row is None or row[-1] is None:
            return None
        manifest = reads.manifest_of(row)
        generation.put((repository, reference, "manifest"), manifest, manifest.content)
        return manifest

    def resolved(self, repository: str, reference: str) -> Resolved | None:
        generation = self._read_cache.begin()
        row = self._row(reads.descriptor(repository, reference), repository, "MANIFEST_UNKNOWN")
        if row is None:
            return None
        resolved = reads.resolved_of(row)
        generation.put((repository, reference, "resolved"), resolved, None)
        return resolved

    def blob(self, repository: str, digest: str) -> Link | None:
        """A blob. None for most blobs in files: the event loop has to open those, and another read would delay it."""
        name = hash(digest)
        if self._in_files[name % SLOTS] == name:
            return None
        generation = self._read_cache.begin()
        row = self._row(reads.blob(repository, digest), repository, "BLOB_UNKNOWN")
        if row is None:
            return None
        link = reads.link_of(digest, row)
        if link.copy.content is None:
            self._in_files[name % SLOTS] = name
        generation.put((repository, digest, "blob"), link, link.copy.content)
        return link

    def _row(self, statement: Statement, repository: str, missing: str) -> Row | None:
        rows = self._database.read_nowait(*statement)
        if rows:
            return rows[0]
        if rows is not None and (known := self._database.read_nowait(*reads.repository(repository))) is not None:
            raise OCIError(missing if known else "NAME_UNKNOWN")
        return None
