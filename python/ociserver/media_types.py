"""Media types that come from elsewhere: which are valid, and what a manifest says of itself."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["MAX_MEDIA_TYPE", "declared_media_type", "is_media_type", "manifest_type"]

MAX_MEDIA_TYPE: Final = 255
"""Characters of a media type (RFC 6838, 4.2: two names of up to 127 and a slash)."""


def is_media_type(text: str) -> bool:
    """Whether a text is valid in a Content-Type header: printable ASCII, neither empty nor too long."""
    return 0 < len(text) <= MAX_MEDIA_TYPE and text.isascii() and text.isprintable()


def declared_media_type(content: bytes) -> str | None:
    """The property `mediaType` of a manifest (image-spec), unchecked; None if it has none."""
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    declared = document.get("mediaType") if isinstance(document, dict) else None
    return declared if isinstance(declared, str) and declared else None


def manifest_type(content: bytes, named: str) -> str | None:
    """The media type of a manifest that was fetched.

    Args:
        content: the manifest. Its `mediaType` counts, if it has one.
        named: the Content-Type. It counts if the manifest has no `mediaType`, or the same one; then it is kept exactly,
            with its parameters.

    Returns:
        None if the type that counts is not valid.
    """
    declared = declared_media_type(content)
    is_same = declared is None or named.partition(";")[0].strip().lower() == declared.lower()
    found = named if is_same and is_media_type(named) else declared
    return found if found is not None and is_media_type(found) else None
