"""Records what the bytes of a manifest say, for a push, a migration and a repair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from ociserver._core import ManifestInfo, read_stored_manifest
from ociserver.store.transaction import Transaction

__all__ = ["MAX_DIGESTS", "add_references", "digest_groups", "record", "reread_manifests"]

MAX_DIGESTS: Final = 100
"""Digests in one statement: more than any image has. With three values each, they are a tenth of SQLite's limit."""

PAGE: Final = 100
"""Manifests in one read."""


def add_references(manifest_id: int, repository_id: int, info: ManifestInfo) -> Transaction[None]:
    """Record what a manifest references, so that collection keeps it. References that are recorded already stay."""
    for digests in digest_groups(reference.digest for reference in info.references):
        rows = ", ".join(["(?, ?, ?)"] * len(digests))
        yield (
            f"INSERT INTO refs (manifest_id, repository_id, digest) VALUES {rows} ON CONFLICT DO NOTHING",
            tuple(value for digest in digests for value in (manifest_id, repository_id, digest)),
        )


def record(manifest_id: int, repository_id: int, info: ManifestInfo) -> Transaction[None]:
    """Replace what is recorded about a manifest: its type, its subject, its annotations and its references."""
    yield (
        "UPDATE manifests SET media_type = ?, kind = ?, subject = ?, artifact_type = ?, annotations = ? WHERE id = ?",
        (info.media_type, info.kind, info.subject, info.artifact_type, info.annotations_json, manifest_id),
    )
    yield "DELETE FROM refs WHERE manifest_id = ?", (manifest_id,)
    yield from add_references(manifest_id, repository_id, info)


def reread_manifests() -> Transaction[None]:
    """Record for every manifest what its bytes say.

    Older versions accepted a manifest under any type. Under a wrong type, they did not record what it references.
    """
    after = 0
    while True:
        rows = yield (
            "SELECT id, repository_id, media_type, content FROM manifests WHERE id > ? ORDER BY id LIMIT ?",
            (after, PAGE),
        )
        if not rows:
            return
        for manifest_id, repository_id, media_type, content in rows:
            after = manifest_id
            yield from record(manifest_id, repository_id, read_stored_manifest(content, media_type))


def digest_groups(digests: Iterable[str]) -> Iterator[list[str]]:
    """Each digest once, in groups that fit into one statement."""
    each = iter(dict.fromkeys(digests))
    while group := list(islice(each, MAX_DIGESTS)):
        yield group
