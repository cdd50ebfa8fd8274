"""What a test has pushed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ociserver.values import Descriptor

__all__ = ["Pushed"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """A manifest that is in the registry.

    Args:
        host: of the registry: `127.0.0.1:PORT`.
        repository: where it is.
        tag: that points at it; None: it has no tag.
        descriptor: of the manifest.
        content: the bytes of the manifest.
        blobs: the blobs of the manifest: the config, then the layers.
        manifests: by platform, the images of an index.
    """

    host: str
    repository: str
    tag: str | None
    descriptor: Descriptor
    content: bytes = field(repr=False)
    blobs: tuple[Descriptor, ...] = field(default=(), repr=False)
    manifests: dict[str, Pushed] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return self.descriptor.digest

    @property
    def reference(self) -> str:
        """`host/repository:tag`, or with the digest if there is no tag: what clients take."""
        return f"{self.host}/{self.repository}:{self.tag}" if self.tag else self.by_digest

    @property
    def by_digest(self) -> str:
        """`host/repository@digest`."""
        return f"{self.host}/{self.repository}@{self.digest}"

    @property
    def json(self) -> Any:
        """The manifest, decoded."""
        return json.loads(self.content)
