"""Media types from other registries: which are valid, and the type of a fetched manifest."""

from __future__ import annotations

from typing import Final

from ociserver._core import manifest_media_type, read_stored_manifest
from ociserver.errors import OCIError

__all__ = ["MAX_MEDIA_TYPE", "fetched_type", "is_media_type"]

MAX_MEDIA_TYPE: Final = 255
"""Characters of a media type (RFC 6838, 4.2: two names of up to 127 and a slash)."""

_UNKNOWN: Final = "application/octet-stream"
"""The type that the core returns if neither the bytes nor their sender name a valid one."""


def is_media_type(text: str) -> bool:
    """Whether a text is valid in a Content-Type header: printable ASCII, neither empty nor too long."""
    return 0 < len(text) <= MAX_MEDIA_TYPE and text.isascii() and text.isprintable()


def fetched_type(content: bytes, named: str) -> str | None:
    """The media type of a manifest that was fetched from another registry.

    Args:
        content: the manifest. Its `mediaType` counts, if it has one.
        named: the Content-Type. It counts if the manifest has no `mediaType`.

    Returns:
        None if the type that counts is not valid.
    """
    try:
        manifest_media_type(content, "")
    except OCIError:
        # No registry accepts a manifest that names an invalid type, or two types.
        return None
    is_usable = is_media_type(named)
    found = read_stored_manifest(content, named if is_usable else "").media_type
    return found if is_usable or found != _UNKNOWN else None
