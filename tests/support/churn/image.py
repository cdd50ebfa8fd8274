"""Images to push, with shared and own layers, and media types of OCI or Docker."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ociserver.store.upload import INLINE_SIZE
from tests.support.images import (
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX,
    LAYER,
    MANIFEST,
    Json,
    digest_of,
    random_bytes,
)


@dataclass(frozen=True, slots=True)
class Family:
    """The media types of OCI or of Docker."""

    manifest: str
    index: str
    config: str
    layer: str


FAMILIES: Final = (
    Family(MANIFEST, INDEX, CONFIG, LAYER),
    Family(
        DOCKER_MANIFEST,
        DOCKER_LIST,
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
)


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob to push."""

    content: bytes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest_of(self.content))


SIZES: Final = (400, INLINE_SIZE, INLINE_SIZE + 1, 70_000, 300_000)
"""Sizes of blobs: in the database, at its limit and one byte above; in files, of one piece and of several."""

POOL: Final = tuple(Blob(random_bytes(size, number)) for number, size in enumerate(SIZES * 6))
"""Layers that all clients push, mount and delete."""


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest, or an index, in a repository.

    Args:
        repository: the repository that it is pushed to.
        media_type: of the manifest.
        manifest: its bytes.
        tag: its tag; None for a child of an index.
        blobs: its config and layers; empty for an index.
        children: the images of an index.
    """

    repository: str
    media_type: str
    manifest: bytes
    tag: str | None
    blobs: tuple[Blob, ...] = ()
    children: tuple[Image, ...] = ()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", digest_of(self.manifest))

    @property
    def all(self) -> tuple[Image, ...]:
        """Its children and then itself, in the order of a push."""
        return (*self.children, self)

    @property
    def path(self) -> str:
        return f"/v2/{self.repository}/manifests/{self.digest}"

    @property
    def tag_path(self) -> str | None:
        return f"/v2/{self.repository}/manifests/{self.tag}" if self.tag else None

    def blob_path(self, blob: Blob) -> str:
        return f"/v2/{self.repository}/blobs/{blob.digest}"

    @property
    def needs(self) -> list[str]:
        """Paths that must exist before the server accepts its manifest."""
        return [*map(self.blob_path, self.blobs), *(child.path for child in self.children)]

    @property
    def parts(self) -> list[str]:
        """Its own path and the paths of all that it needs."""
        return [path for image in self.all for path in (*image.needs, image.path)]


def make_image(repository: str, tag: str | None, layers: Sequence[Blob], family: Family, dice: random.Random) -> Image:
    """A unique image with these layers and one layer of its own."""
    config = Blob(json.dumps({"id": f"{dice.getrandbits(128):x}"}).encode())
    layers = (*layers, Blob(dice.randbytes(dice.choice(SIZES))))
    manifest = {
        "schemaVersion": 2,
        "mediaType": family.manifest,
        "config": _descriptor(family.config, config.content),
        "layers": [_descriptor(family.layer, layer.content) for layer in layers],
    }
    return Image(repository, family.manifest, json.dumps(manifest).encode(), tag, (config, *layers))


def make_index(repository: str, tag: str, children: Sequence[Image], family: Family) -> Image:
    """An index of images."""
    manifests = [_descriptor(child.media_type, child.manifest) for child in children]
    index = {"schemaVersion": 2, "mediaType": family.index, "manifests": manifests}
    return Image(repository, family.index, json.dumps(index).encode(), tag, children=tuple(children))


def _descriptor(media_type: str, content: bytes) -> Json:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
