"""Images that the tests make without a network. The bytes are the same in every run."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Json = dict[str, Any]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def random_bytes(size: int, seed: int) -> bytes:
    """Incompressible bytes. The same seed gives the same bytes."""
    return random.Random(seed).randbytes(size)


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A reproducible tar file: it contains no time, user or host."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Layout:
    """Writes an OCI image layout (image-spec: image-layout)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tagged: list[Json] = []
        path.mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, content: bytes, media_type: str, **fields: Any) -> Json:
        """Store a blob and return its descriptor, with these additional fields."""
        return self.large_blob([content], media_type, **fields)

    def large_blob(self, chunks: Iterable[bytes], media_type: str, **fields: Any) -> Json:
        """Store a blob without holding all of it in memory."""
        hasher, size = hashlib.sha256(), 0
        folder = self.path / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / "unfinished"
        with unfinished.open("wb") as file:
            for chunk in chunks:
                hasher.update(chunk)
                size += file.write(chunk)
        unfinished.rename(folder / hasher.hexdigest())
        return {"mediaType": media_type, "digest": f"sha256:{hasher.hexdigest()}", "size": size, **fields}

    def json(self, value: Json, media_type: str, **fields: Any) -> Json:
        return self.blob(json.dumps(value).encode(), media_type, **fields)

    def image(self, *layers: bytes, architecture: str = "amd64") -> Json:
        """An image with gzipped tar layers. Each layer has one file with these bytes."""
        platform = {"os": "linux", "architecture": architecture}
        tars = [tar_of({f"file-{number}": content}) for number, content in enumerate(layers)]
        return self.image_of(
            [self.blob(gzip.compress(tar, 1, mtime=0), LAYER) for tar in tars],
            [digest_of(tar) for tar in tars],
            platform,
        )

    def image_of(self, layers: Sequence[Json], diff_ids: Sequence[str], platform: Mapping[str, str]) -> Json:
        """An image of layers that are already stored. `diff_ids` are the digests of the uncompressed layers."""
        config = {**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.json(config, CONFIG),
            "layers": list(layers),
        }
        return self.json(manifest, MANIFEST, platform=dict(platform))

    def index(self, *manifests: Json) -> Json:
        return self.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}, INDEX)

    def tag(self, descriptor: Json, name: str) -> str:
        """Tag a manifest in this layout. Returns its digest."""
        self._tagged.append({**descriptor, "annotations": {"org.opencontainers.image.ref.name": name}})
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self._tagged}
        (self.path / "index.json").write_text(json.dumps(index))
        digest: str = descriptor["digest"]
        return digest


def blobs_of(layout: Path) -> set[str]:
    """The names of all blob files of a layout: the hex parts of their digests."""
    return {path.name for path in (layout / "blobs" / "sha256").iterdir()}


def docker_archive(path: Path, name: str, *layers: bytes) -> Path:
    """Write an archive as `docker save` does: one image, with uncompressed layers of one file each."""
    tars = [tar_of({f"file-{number}": content}) for number, content in enumerate(layers)]
    config = {
        "os": "linux",
        "architecture": "amd64",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
    }
    files = {"config.json": json.dumps(config).encode()}
    files |= {f"layer-{number}.tar": tar for number, tar in enumerate(tars)}
    entry = {"Config": "config.json", "RepoTags": [name], "Layers": [name for name in files if name != "config.json"]}
    path.write_bytes(tar_of(files | {"manifest.json": json.dumps([entry]).encode()}))
    return path
