"""The contents that a manifest references, with what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ociserver._core import ManifestInfo, Reference, read_stored_manifest
from ociserver.interface import UNKNOWN_SIZE, Descriptor, Manifest

__all__ = ["Part", "parts_of", "read"]


@dataclass(frozen=True, slots=True)
class Part:
    """One content that a manifest references.

    Args:
        kind: unknown if neither the manifest's type nor the reference's type tells it. Then it may be either.
        digest: of the content.
        size: in bytes, from the manifest, or `UNKNOWN_SIZE`.
        required: whether the copy is incomplete without it. A non-distributable layer is not required: it is stored
            elsewhere. In a manifest of an unknown type, a digest with a size is a descriptor, which is required; a
            digest without a size may be anything.
    """

    kind: Literal["blob", "manifest", "unknown"]
    digest: str
    size: int
    required: bool


def read(manifest: Manifest) -> tuple[Manifest, ManifestInfo]:
    """The manifest with the media type in its bytes, whatever the registry says, and a summary of the manifest."""
    info = read_stored_manifest(manifest.content, manifest.descriptor.media_type)
    described = manifest.descriptor
    return Manifest(Descriptor(info.media_type, described.digest, described.size), manifest.content), info


def parts_of(info: ManifestInfo) -> list[Part]:
    """Each content once, in order of appearance."""
    parts = {reference.digest: _part(info, reference) for reference in reversed(info.references)}
    return list(reversed(parts.values()))


def _part(info: ManifestInfo, reference: Reference) -> Part:
    size = UNKNOWN_SIZE if reference.size is None else reference.size
    required = reference.required or (info.kind == "other" and reference.size is not None)
    return Part(reference.kind, reference.digest, size, required)
