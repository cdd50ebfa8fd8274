"""What the records of the memory backend take in memory, beside the contents that they describe.

A bound on contents alone is no bound on memory: 200,000 uploads without a byte took 155 MiB under a limit of 64 MiB.
So each record counts towards the bound. The figures are upper bounds of what was measured with CPython 3.11 on 64-bit
Linux, with names as long as the spec allows; in brackets is what one took. `tests/memory/test_bounds.py` compares them
with the memory of a process.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ociserver._core import ManifestInfo

__all__ = ["BLOB", "LINK", "MANIFEST", "REFERENCE", "REPOSITORY", "SUBJECT", "TAG", "UPLOAD", "of_manifest"]

REPOSITORY: Final = 1024
"""A repository: its name, and an empty table of each kind (990)."""

UPLOAD: Final = 1024
"""An upload without its bytes: its id, its hash, its place in the order of uploads (740). Not less than `BLOB` and
`LINK` together, so that an upload which fitted can always become a blob."""

BLOB: Final = 512
"""A blob without its bytes, whatever the number of repositories that have it (with `LINK`: 770)."""

LINK: Final = 512
"""A blob in one repository: its descriptor, and its place in a table (360)."""

MANIFEST: Final = 1024
"""A manifest without its bytes: two digests, a media type of 255 characters, its places in tables (920)."""

REFERENCE: Final = 640
"""A content that a manifest references: a digest of 128 digits, and a set of the manifests that reference it (600)."""

SUBJECT: Final = 1024
"""The subject of a manifest: the digest, the list of its referrers, and a descriptor for that list (780)."""

TAG: Final = 640
"""A tag of 128 characters: its places in four tables (510)."""


def of_manifest(references: Collection[str], info: ManifestInfo) -> int:
    """Bytes that the record of a manifest takes, with what was read from the manifest and is kept.

    Args:
        references: digests of what the manifest references, each once.
        info: what was read. Its annotations are kept as JSON, and only if it has a subject.
    """
    cost = MANIFEST + REFERENCE * len(references)
    if info.subject is not None:
        cost += SUBJECT + len(info.artifact_type or "") + len(info.annotations_json or b"")
    return cost
