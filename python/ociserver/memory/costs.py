"""The memory that each record of the memory backend takes, in addition to the contents that it describes.

A bound on contents does not bound the memory: 200,000 empty uploads took 155 MiB under a limit of 64 MiB. So each
record counts towards the bound. The constants are bytes, and upper bounds of what was measured with CPython 3.11 on
64-bit Linux, with names as long as the spec allows. The measured bytes are in brackets. `tests/memory/test_bounds.py`
compares the constants with the memory of a process.
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
`LINK` together, so that each upload that fits can become a blob."""

BLOB: Final = 512
"""A blob without its bytes, for any number of repositories that have it (with `LINK`: 770)."""

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
    """Bytes of the record of a manifest, including what the registry keeps of `info`.

    Args:
        references: digests that the manifest references, each once.
        info: what was read from the manifest. Its annotations are kept only if it has a subject, as JSON.
    """
    cost = MANIFEST + REFERENCE * len(references)
    if info.subject is not None:
        cost += SUBJECT + len(info.artifact_type or "") + len(info.annotations_json or b"")
    return cost
