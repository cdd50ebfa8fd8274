"""Checks of a digest that a caller passes to a backend."""

from __future__ import annotations

from ociserver._core import digest_of, is_digest
from ociserver.errors import OCIError

__all__ = ["check_digest", "content_digest"]


def check_digest(digest: str) -> None:
    """Raises DIGEST_INVALID if this is not a valid digest of a known algorithm."""
    if not is_digest(digest):
        raise OCIError("DIGEST_INVALID", "badly formed digest")


def content_digest(content: bytes, wanted: str | None) -> str:
    """The digest of a pushed content: `wanted`, after a check; its sha256 if `wanted` is None.

    Raises:
        OCIError: DIGEST_INVALID if `wanted` is malformed, or the content does not have this digest.
    """
    if wanted is None:
        return digest_of(content)
    check_digest(wanted)
    found = digest_of(content, wanted.partition(":")[0])
    if found != wanted:
        raise OCIError("DIGEST_INVALID", detail={"digest": wanted, "content": found})
    return found
