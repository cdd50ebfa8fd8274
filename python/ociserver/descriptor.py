"""The value that describes a content. It knows nothing else of this package, so that `_core` can name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["UNKNOWN_SIZE", "Descriptor"]

UNKNOWN_SIZE: Final = -1
"""`Descriptor.size` of a content whose length its sender has not said."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A content and how to find it (image-spec: descriptor).

    Args:
        media_type: type of the content, as it was pushed.
        digest: `algorithm:hex`.
        size: bytes; `UNKNOWN_SIZE` only on the way into `push_blob`, and perhaps out of `BlobWriter.commit`.
        artifact_type: only on the way out of `referrers`.
        annotations: only on the way out of `referrers`; those of our own registries are `ociserver.Annotations`.
    """

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
