"""Media types as they come from elsewhere: what may stand in a header, and what a manifest that was fetched is."""

from __future__ import annotations

from typing import Final

from ociserver._core import read_stored_manifest

__all__ = ["MAX_MEDIA_TYPE", "fetched_type", "is_media_type"]

MAX_MEDIA_TYPE: Final = 255
"""Characters of a media type (RFC 6838, 4.2: two names of up to 127 and a slash)."""

_UNKNOWN: Final = "application/octet-stream"
"""What the core gives where neither the bytes nor their sender name a type that can be kept."""


def is_media_type(text: str) -> bool:
    """Whether a text may stand in a Content-Type header: printable ASCII, neither empty nor too long."""
    return 0 < len(text) <= MAX_MEDIA_TYPE and text.isascii() and text.isprintable()


def fetched_type(content: bytes, named: str) -> str | None:
    """The media type to keep a manifest under that was fetched from another registry.

    Args:
        content: the manifest. The type that it names itself counts.
        named: what the registry says, which counts where the content names none.

    Returns:
        None if what counts cannot stand in a header.
    """
    is_usable = is_media_type(named)
    found = read_stored_manifest(content, named if is_usable else "").media_type
    return found if is_usable or found != _UNKNOWN else None
