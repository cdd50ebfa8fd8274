"""The values that cross the interface. They do not import it, so that the stub of `_core` can name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ociserver.urls import shown

__all__ = ["UNKNOWN_SIZE", "Descriptor", "File", "Manifest", "PushedManifest", "Url"]

UNKNOWN_SIZE: Final = -1
"""`Descriptor.size` of a content whose size is not known."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Describes a content (image-spec: descriptor).

    Args:
        media_type: type of the content, as it was pushed.
        digest: `algorithm:hex`.
        size: bytes. `UNKNOWN_SIZE` only as an argument of `push_blob`, and perhaps as a result of `BlobWriter.commit`.
        artifact_type: only in results of `referrers`.
        annotations: only in results of `referrers`. Our own registries return `ociserver.Annotations`.
    """

    media_type: str
    digest: str
    size: int
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest: its descriptor and its bytes, exactly as pushed."""

    descriptor: Descriptor
    content: bytes


@dataclass(frozen=True, slots=True)
class PushedManifest:
    """The result of `push_manifest`: the descriptor of the manifest, the tags that it has set, and the subject."""

    descriptor: Descriptor
    tags: tuple[str, ...] = ()
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class File:
    """Bytes of a blob in a file: an open descriptor, which the reader closes, the first byte, and the length."""

    descriptor: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """An absolute URL, to which a client may be redirected for the bytes of a blob, or to continue an upload.

    It may be signed, so `repr` shows it without its query.
    """

    url: str

    def __repr__(self) -> str:
        return f"Url({shown(self.url)!r})"
