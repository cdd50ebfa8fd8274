"""Contents for tests, built here and hashed with hashlib, so that nothing of ours vouches for itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from ociserver._core import ByteRange
from ociserver.interface import UNKNOWN_SIZE, Backend, Descriptor, PushedManifest

__all__ = [
    "BINARY",
    "CONFIG",
    "DOCKER_IMAGE",
    "DOCKER_LIST",
    "IMAGE",
    "INDEX",
    "LAYER",
    "REPOSITORY",
    "Json",
    "collect",
    "descriptor",
    "digest_of",
    "encode",
    "image",
    "index",
    "pieces_of",
    "push_blob",
    "push_image",
    "push_manifest",
    "read_blob",
    "tags_of",
]

IMAGE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
BINARY: Final = "application/octet-stream"

REPOSITORY: Final = "group/project"

Item = TypeVar("Item")
Json = dict[str, Any]


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def descriptor(media_type: str, content: bytes, **fields: Any) -> Json:
    """A descriptor as it stands in a manifest."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **fields}


def encode(value: Json) -> bytes:
    """JSON that no encoder of ours would write: a manifest's bytes have to be kept, not rebuilt."""
    return json.dumps(value, indent=3).encode() + b"\n"


def image(config: bytes, *layers: bytes, config_type: str = CONFIG, **fields: Any) -> bytes:
    """An image manifest."""
    return encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(config_type, config),
            "layers": [descriptor(LAYER, layer) for layer in layers],
            **fields,
        }
    )


def index(*manifests: bytes, **fields: Any) -> bytes:
    """An index of image manifests."""
    entries = [descriptor(IMAGE, manifest) for manifest in manifests]
    return encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **fields})


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def push_blob(backend: Backend, content: bytes, repository: str = REPOSITORY) -> str:
    digest = digest_of(content)
    await backend.push_blob(repository, Descriptor(BINARY, digest, UNKNOWN_SIZE), pieces_of(content))
    return digest


async def push_image(
    backend: Backend,
    *tags: str,
    config: bytes = b"{}",
    layers: Iterable[bytes] = (),
    repository: str = REPOSITORY,
    **fields: Any,
) -> bytes:
    """Push an image with its blobs; returns the manifest's bytes."""
    layers = tuple(layers)
    for blob in (config, *layers):
        await push_blob(backend, blob, repository)
    content = image(config, *layers, **fields)
    await push_manifest(backend, content, IMAGE, *tags, repository=repository)
    return content


async def push_manifest(
    backend: Backend, content: bytes, media_type: str, *tags: str, repository: str = REPOSITORY
) -> PushedManifest:
    return await backend.push_manifest(repository, content, media_type, tags=tags)


async def read_blob(
    backend: Backend, digest: str, range: ByteRange | None = None, repository: str = REPOSITORY
) -> bytes:
    async with aclosing(await backend.get_blob(repository, digest, range)) as reader:
        return b"".join([piece async for piece in reader])


async def collect(items: AsyncIterator[Item]) -> list[Item]:
    return [item async for item in items]


async def tags_of(backend: Backend, repository: str = REPOSITORY) -> list[str]:
    return await collect(backend.tags(repository))
