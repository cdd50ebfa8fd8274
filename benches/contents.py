"""The contents that the benchmarks store and read."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any, Final

REPOSITORY: Final = "bench/images"
MEDIA_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
TAGS: Final = 10_000
SMALL_BLOBS: Final = 1_000
SMALL_BLOB_SIZE: Final = 4096

_LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def tag(number: int) -> str:
    return f"v1.{number}"


def manifest(number: int, version: int = 0, layers: int = 1) -> bytes:
    """Return a manifest of an image. Manifests with the same number of layers have the same size, and all differ."""
    content: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": {"mediaType": _CONFIG, "digest": digest_of(b"config"), "size": 6},
        "layers": [
            {"mediaType": _LAYER, "digest": digest_of(b"layer %d" % layer), "size": 1_000_000 + layer}
            for layer in range(layers)
        ],
        "annotations": {"number": f"{number:08d}", "version": f"{version:08d}"},
    }
    return json.dumps(content, separators=(",", ":")).encode()


def small_blob(number: int) -> bytes:
    """Return a blob of `SMALL_BLOB_SIZE` random bytes, the same for the same number."""
    return random.Random(number).randbytes(SMALL_BLOB_SIZE)
