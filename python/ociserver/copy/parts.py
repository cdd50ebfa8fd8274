"""What a manifest consists of, with what is known of each part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ociserver._core import ManifestInfo, read_manifest
from ociserver.interface import UNKNOWN_SIZE, Manifest

__all__ = ["Part", "parts_of", "read"]


@dataclass(frozen=True, slots=True)
class Part:
    """One content that a manifest names.

    Args:
        kind: unknown where the manifest's own type is not known.
        digest: of it.
        size: bytes, as the manifest says, or `UNKNOWN_SIZE`.
        required: whether the manifest is nothing without it; a layer that must not be distributed is not.
    """

    kind: Literal["blob", "manifest", "unknown"]
    digest: str
    size: int
    required: bool


def read(manifest: Manifest) -> ManifestInfo:
    """What the core makes of it. Raises MANIFEST_INVALID."""
    return read_manifest(manifest.content, manifest.descriptor.media_type, lax=True)


def parts_of(manifest: Manifest, info: ManifestInfo) -> list[Part]:
    """Each content once, in order of appearance."""
    sizes = dict(_sizes(manifest.content))
    parts = {
        reference.digest: Part(
            reference.kind, reference.digest, sizes.get(reference.digest, UNKNOWN_SIZE), reference.required
        )
        for reference in reversed(info.references)
    }
    return list(reversed(parts.values()))


def _sizes(content: bytes) -> Iterator[tuple[str, int]]:
    # The core has read it, and so its depth and its number of descriptors are within bounds.
    try:
        document = json.loads(content)
    except ValueError:
        return
    if not isinstance(document, dict):
        return
    for key in ("config", "layers", "manifests", "blobs"):
        value = document.get(key)
        entries: list[Any] = value if isinstance(value, list) else [value]
        for entry in entries:
            if isinstance(entry, dict):
                digest, size = entry.get("digest"), entry.get("size")
                if isinstance(digest, str) and type(size) is int and size >= 0:
                    yield digest, size
