"""Makes the contents that tests push: artifacts and images, whose bytes are the same in every run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ociserver.values import Descriptor

__all__ = ["Blob", "Content", "Document", "Files", "Manifest", "artifact", "digest_of", "image", "index", "read"]

Content = bytes | str | Path
"""The content of a file: bytes, text (as UTF-8), or the path of a file to read."""

Files = Mapping[str, Content]
"""Contents by name."""

Document = dict[str, Any]

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY: Final = "application/vnd.oci.empty.v1+json"
OCTETS: Final = "application/octet-stream"
TITLE: Final = "org.opencontainers.image.title"


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob with the descriptor that a manifest has for it."""

    content: bytes = field(repr=False)
    media_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def descriptor(self) -> Descriptor:
        """Type, digest and size."""
        return Descriptor(self.media_type, digest_of(self.content), len(self.content), annotations=self.annotations)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, with the blobs and manifests that have to be pushed before it."""

    content: bytes
    media_type: str
    blobs: tuple[Blob, ...] = ()
    manifests: tuple[Manifest, ...] = ()

    @property
    def descriptor(self) -> Descriptor:
        """Type, digest and size."""
        return Descriptor(self.media_type, digest_of(self.content), len(self.content))


def digest_of(content: bytes) -> str:
    """The sha256 digest of a content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read(content: Content) -> bytes:
    """The bytes of a content."""
    if isinstance(content, str):
        return content.encode()
    return content.read_bytes() if isinstance(content, Path) else bytes(content)


def artifact(
    files: Files,
    *,
    artifact_type: str,
    media_type: str = OCTETS,
    annotations: Mapping[str, str] | None = None,
    subject: Descriptor | None = None,
) -> Manifest:
    """An artifact: a manifest with the empty config, and one layer for each file (image-spec: artifact usage).

    Args:
        files: contents by name, which becomes the title of the layer.
        artifact_type: of the manifest.
        media_type: of each layer.
        annotations: of the manifest.
        subject: what the artifact refers to.
    """
    config = Blob(b"{}", EMPTY)
    layers = [Blob(read(content), media_type, {TITLE: name}) for name, content in files.items()]
    document: Document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": _json_of(config.descriptor),
        # Without files the layer is the empty one, because some registries refuse a manifest without layers.
        "layers": [_json_of(layer.descriptor) for layer in layers or [config]],
    }
    if subject is not None:
        document["subject"] = _json_of(subject)
    if annotations:
        document["annotations"] = dict(annotations)
    return Manifest(_encode(document), MANIFEST, (config, *layers))


def image(
    layers: Sequence[Files],
    *,
    platform: str,
    config: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """An image that a container runtime can unpack.

    Args:
        layers: the files of each layer, by path.
        platform: `os/architecture` or `os/architecture/variant`.
        config: how to run it: `Env`, `Entrypoint`, `Labels`, ... (image-spec: `config` of the image configuration).
        annotations: of the manifest.

    Raises:
        ValueError: the platform is malformed.
    """
    tars = [_tar_of(files) for files in layers]
    document = {
        **_platform(platform),
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        "history": [{"created_by": "ociserver.testing"} for _ in tars],
    }
    configuration = Blob(_encode(document), CONFIG)
    blobs = [Blob(gzip.compress(tar, 1, mtime=0), LAYER) for tar in tars]
    manifest: Document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _json_of(configuration.descriptor),
        "layers": [_json_of(blob.descriptor) for blob in blobs],
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    return Manifest(_encode(manifest), MANIFEST, (configuration, *blobs))


def index(images: Mapping[str, Manifest], annotations: Mapping[str, str] | None = None) -> Manifest:
    """An index of images by platform."""
    document: Document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            _json_of(manifest.descriptor) | {"platform": _platform(platform)} for platform, manifest in images.items()
        ],
    }
    if annotations:
        document["annotations"] = dict(annotations)
    return Manifest(_encode(document), INDEX, (), tuple(images.values()))


def _platform(text: str) -> dict[str, str]:
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ValueError(f"{text!r} is not a platform; write os/architecture or os/architecture/variant")
    return dict(zip(("os", "architecture", "variant"), parts, strict=False))


def _json_of(descriptor: Descriptor) -> Document:
    document: Document = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.annotations:
        document["annotations"] = dict(descriptor.annotations)
    return document


def _tar_of(files: Files) -> bytes:
    """A tar file without times, users or hosts. Folders come before what is in them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        folders = {str(parent) for name in files for parent in Path(name.strip("/")).parents} - {"."}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, content in files.items():
            data = read(content)
            entry = tarfile.TarInfo(name.strip("/"))
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _encode(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
