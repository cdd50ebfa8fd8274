"""The values that cross the interface. They know nothing of it, so that the stub of `_core` can name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ociserver.urls import shown

__all__ = ["UNKNOWN_SIZE", "Descriptor", "File", "Manifest", "PushedManifest", "Url"]

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


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest whole: its descriptor and its bytes, exactly as pushed."""

    descriptor: Descriptor
    content: bytes


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """What `push_manifest` did: the manifest's descriptor, the tags it set, the subject it recorded."""

    descriptor: Descriptor
    tags: tuple[str, ...] = ()
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """Where a blob's bytes lie: an open descriptor, the first byte, and how many; the reader closes it."""

    descriptor: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """Where a client may be sent for a blob's bytes, or to go on with an upload. Absolute, as a header has it.

    It may be signed: `repr` shows it without its query.
    """

    url: str

    def __repr__(self) -> str:
        return f"Url({shown(self.url)!r})"
