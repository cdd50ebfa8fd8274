"""Media types as they come from elsewhere: what may stand in a header, and what a manifest says of itself."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["MAX_MEDIA_TYPE", "declared_media_type", "is_media_type", "manifest_type"]

MAX_MEDIA_TYPE: Final = 255
"""Characters of a media type (RFC 6838, 4.2: two names of up to 127 and a slash)."""


def is_media_type(text: str) -> bool:
    """Whether a text may stand in a Content-Type header: printable ASCII, neither empty nor too long."""
    return 0 < len(text) <= MAX_MEDIA_TYPE and text.isascii() and text.isprintable()


def declared_media_type(content: bytes) -> str | None:
    """What a manifest says that it is (image-spec: the property `mediaType`), as it stands there; None if it does not.

    The text is not checked: see `is_media_type`.
    """
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    declared = document.get("mediaType") if isinstance(document, dict) else None
    return declared if isinstance(declared, str) and declared else None


def manifest_type(content: bytes, named: str) -> str | None:
    """The type of a manifest that was fetched: what its bytes say, and where they say nothing what its sender named.

    What the sender named is kept to the byte where it is the same type, with parameters perhaps. None if what counts
    cannot stand in a header.
    """
    declared = declared_media_type(content)
    is_same = declared is None or named.partition(";")[0].strip().lower() == declared.lower()
    found = named if is_same and is_media_type(named) else declared
    return found if found is not None and is_media_type(found) else None
