"""Platforms, and the choice of an index's image for a platform."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Self

from ociserver._core import is_digest
from ociserver.interface import Backend, Manifest

__all__ = ["Platform", "PlatformError", "choose"]

MAX_CONFIG_SIZE: Final = 4 * 1024 * 1024
"""Largest config in bytes that is read for its platform: the same as for a manifest."""

# As containerd normalises them (platforms/database.go).
_ARCHITECTURES: Final = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_PLAIN: Final = {("arm64", "v8"), ("amd64", "v1")}
"""Default variants, which are omitted."""


class PlatformError(Exception):
    """There is no image for the platform. The message lists the platforms that exist."""


@dataclass(frozen=True, slots=True)
class Platform:
    """An operating system, an architecture, and an optional variant (image-spec: image-index, `platform`)."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `os/architecture[/variant]`.

        Raises:
                ValueError: the text has another form.
        """
        parts = text.lower().split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"{text!r} is not a platform; write linux/amd64 or linux/arm/v7")
        return cls._normal(*parts)

    @classmethod
    def read(cls, document: Any) -> Self | None:
        """The platform in a JSON object; None if it has none."""
        if not isinstance(document, dict):
            return None
        os, architecture, variant = (document.get(key) for key in ("os", "architecture", "variant"))
        if not isinstance(os, str) or not isinstance(architecture, str):
            return None
        return cls._normal(os, architecture, variant if isinstance(variant, str) else "")

    @classmethod
    def _normal(cls, os: str, architecture: str, variant: str = "") -> Self:
        architecture = _ARCHITECTURES.get(architecture, architecture)
        return cls(os, architecture, "" if (architecture, variant) in _PLAIN else variant)

    def takes(self, other: Self) -> bool:
        """Whether `other` matches this platform. Without a variant, every variant matches."""
        return (self.os, self.architecture) == (other.os, other.architecture) and self.variant in ("", other.variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


async def choose(backend: Backend, repository: str, manifest: Manifest, wanted: Platform) -> Manifest:
    """The manifest for one platform: from an index, or the manifest itself if it is for this platform.

    Raises:
        PlatformError: there is none.
        OCIError: from the backend.
    """
    document = _object(manifest.content)
    entries = document.get("manifests")
    if isinstance(entries, list):
        found = list(_platforms(entries))
        fitting = [(platform, digest) for platform, digest in found if wanted.takes(platform)]
        # Prefer the exact platform to one that only matches.
        fitting.sort(key=lambda each: each[0] != wanted)
        if fitting:
            return await backend.get_manifest(repository, fitting[0][1])
        there = ", ".join(sorted({str(platform) for platform, _ in found}))
        raise PlatformError(f"the index has nothing for {wanted}; it has {there or 'nothing that names a platform'}")
    platform = await _of_image(backend, repository, document)
    if platform is None:
        raise PlatformError(f"it is neither an index nor an image, so it has nothing for {wanted}")
    if not wanted.takes(platform):
        raise PlatformError(f"the image is for {platform} only")
    return manifest


def _platforms(entries: list[Any]) -> Iterator[tuple[Platform, str]]:
    for entry in entries:
        platform = Platform.read(entry.get("platform")) if isinstance(entry, dict) else None
        digest = entry.get("digest") if isinstance(entry, dict) else None
        # BuildKit's attestations are for "unknown/unknown".
        if platform is not None and platform.os != "unknown" and isinstance(digest, str) and is_digest(digest):
            yield platform, digest


async def _of_image(backend: Backend, repository: str, document: dict[str, Any]) -> Platform | None:
    config = document.get("config")
    digest = config.get("digest") if isinstance(config, dict) else None
    if not isinstance(digest, str) or not is_digest(digest):
        return None
    async with aclosing(await backend.get_blob(repository, digest)) as reader:
        if reader.descriptor.size > MAX_CONFIG_SIZE:
            return None
        return Platform.read(_object(b"".join([piece async for piece in reader])))


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
