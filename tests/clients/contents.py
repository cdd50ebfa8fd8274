"""The image and the chart that the clients push and pull, byte for byte."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.images import CONFIG, LAYER, MANIFEST, Layout, digest_of, tar_of

__all__ = ["CHART", "IMAGE", "Content"]


@dataclass(frozen=True, slots=True)
class Content:
    """A manifest, and its blobs by digest."""

    manifest: bytes
    blobs: dict[str, bytes]
    tag: str

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    def files(self) -> set[str]:
        """The names of its files in an OCI layout."""
        return {digest.partition(":")[2] for digest in (self.digest, *self.blobs)}

    def write(self, folder: Path) -> Path:
        """Write it as an OCI layout with its tag."""
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for content in (self.manifest, *self.blobs.values()):
            (blobs / digest_of(content).partition(":")[2]).write_bytes(content)
        entry = {"mediaType": MANIFEST, "digest": self.digest, "size": len(self.manifest)}
        entry |= {"annotations": {"org.opencontainers.image.ref.name": self.tag}}
        index = {"schemaVersion": 2, "manifests": [entry]}
        (folder / "index.json").write_text(json.dumps(index))
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        return folder


def _content(config: Mapping[str, Any], config_type: str, layer: bytes, layer_type: str, tag: str) -> Content:
    text = json.dumps(config).encode()

    def descriptor(content: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(text, config_type),
        "layers": [descriptor(layer, layer_type)],
    }
    return Content(json.dumps(manifest).encode(), {digest_of(blob): blob for blob in (text, layer)}, tag)


def _image(text: bytes) -> Content:
    tar = tar_of({"file": text})
    config = {"os": "linux", "architecture": "amd64", "config": {}}
    config |= {"rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}}
    return _content(config, CONFIG, gzip.compress(tar, mtime=0), LAYER, "v1")


def _chart(name: str, version: str) -> Content:
    description = {"apiVersion": "v2", "name": name, "version": version, "description": "an example"}
    lines = "".join(f"{key}: {value}\n" for key, value in description.items()).encode()
    archive = gzip.compress(tar_of({f"{name}/Chart.yaml": lines, f"{name}/templates/a.yaml": b"a: b\n"}), mtime=0)
    types = ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    return _content(description, types[0], archive, types[1], version)


IMAGE: Final = _image(b"signed in")
CHART: Final = _chart("example", "1.2.3")
