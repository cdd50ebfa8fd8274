"""Contents of any size that cost nobody memory: one piece, again and again."""

from __future__ import annotations

import hashlib
import random

PIECE = random.Random(1).randbytes(1 << 18)
"""The size that `BlobReader` recommends."""


def digest_of(size: int) -> str:
    """The digest of that many bytes."""
    hasher = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        hasher.update(PIECE)
    hasher.update(PIECE[: size % len(PIECE)])
    return f"sha256:{hasher.hexdigest()}"


def name_of(size: int) -> str:
    """A digest by which this many bytes can be pulled. It is not their hash, which nobody checks here."""
    return f"sha256:{size:064x}"


def size_of(name: str) -> int:
    """The number that `name_of` was given."""
    return int(name.partition(":")[2], 16)
