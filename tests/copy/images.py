"""Images to copy: an index of two platforms, and its referrers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ociserver import Backend
from tests.contract.contents import IMAGE, INDEX, descriptor, encode, image, push_blob, push_manifest

SBOM: Final = "application/spdx+json"


@dataclass(frozen=True, slots=True)
class Images:
    """The manifests that `fill` has pushed, by what they are."""

    amd64: bytes
    arm64: bytes
    index: bytes
    sbom: bytes
    signature: bytes


async def fill(backend: Backend, repository: str, large: bytes = b"") -> Images:
    """Push an index of two platforms under `v1` and `latest`, one of its images under `amd64`, an SBOM that refers to
    the index, and a signature of the SBOM."""
    manifests = {}
    for architecture in ("amd64", "arm64"):
        config = encode({"os": "linux", "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": []}})
        layers = (b"shared layer", f"layer of {architecture}".encode(), large)
        for blob in (config, *layers):
            await push_blob(backend, blob, repository)
        manifests[architecture] = image(config, *layers)
        await push_manifest(backend, manifests[architecture], IMAGE, repository=repository)
    entries = [
        descriptor(IMAGE, content, platform={"os": "linux", "architecture": architecture})
        for architecture, content in manifests.items()
    ]
    whole = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    await push_manifest(backend, whole, INDEX, "v1", "latest", repository=repository)
    await push_manifest(backend, manifests["amd64"], IMAGE, "amd64", repository=repository)
    await push_blob(backend, b"{}", repository)
    await push_blob(backend, b"what is in it", repository)
    sbom = image(b"{}", b"what is in it", artifactType=SBOM, subject=descriptor(INDEX, whole))
    await push_manifest(backend, sbom, IMAGE, repository=repository)
    signature = image(b"{}", artifactType="application/vnd.example.signature", subject=descriptor(IMAGE, sbom))
    await push_manifest(backend, signature, IMAGE, repository=repository)
    return Images(manifests["amd64"], manifests["arm64"], whole, sbom, signature)
