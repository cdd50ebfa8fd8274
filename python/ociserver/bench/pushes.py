"""Operations that push: blobs in several ways, images, tags."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from ociserver._core import LoadContent, LoadStep, digest_of
from ociserver.bench.workload import Operation, Undo

__all__ = ["ACCEPT", "INDEX_TYPE", "MANIFEST_TYPE", "SMALL", "Image", "Pushes"]

SMALL: Final = 4096
"""Size of a small blob in bytes."""

CHUNK: Final = 5 * 1024 * 1024
"""Size of a chunk in bytes: the smallest one that object stores accept."""

MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
_STREAM: Final = ("Content-Type", "application/octet-stream")

ACCEPT: Final = (("Accept", f"{MANIFEST_TYPE}, {INDEX_TYPE}"),)

_MANIFEST, _TAG, _BLOB = range(3)
"""The order of deletions."""


@dataclass(frozen=True, slots=True)
class Image:
    """A unique config, layer of 4 KiB and manifest."""

    config: bytes
    layer: LoadContent
    manifest: bytes
    config_digest: str
    layer_digest: str
    manifest_digest: str


class Pushes:
    """Makes operations that push. Each pushes new contents.

    Args:
        prefix: of the registry's paths, in front of `/v2/`.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = count(1)

    def path(self, repository: str, rest: str) -> str:
        """A path of the protocol."""
        return f"{self._prefix}/v2/{repository}/{rest}"

    def root(self, rest: str) -> str:
        """A path of the protocol that belongs to no repository."""
        return f"{self._prefix}/v2/{rest}"

    def content(self, size: int) -> LoadContent:
        """Random bytes, different ones on each call."""
        return LoadContent(next(self._numbers), size)

    def image(self) -> Image:
        layer = self.content(SMALL)
        layer_digest = layer.digest()
        rootfs = {"type": "layers", "diff_ids": [layer_digest]}
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": rootfs}).encode()
        config_digest = digest_of(config)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": {"mediaType": _CONFIG_TYPE, "digest": config_digest, "size": len(config)},
                "layers": [{"mediaType": _LAYER_TYPE, "digest": layer_digest, "size": SMALL}],
            }
        ).encode()
        return Image(config, layer, manifest, config_digest, layer_digest, digest_of(manifest))

    def push_image(self, repository: str, image: Image, tag: str, *, patch: bool = False) -> Operation:
        """A push as clients make it. A blob takes two requests, or three with a PATCH, as docker and crane do it."""
        blob = self._patch if patch else self._put
        steps = [
            *blob(repository, image.config, image.config_digest),
            *blob(repository, image.layer, image.layer_digest),
            self.put_manifest(repository, tag, image.manifest),
        ]
        undo = (
            self.undo_manifest(repository, image.manifest_digest),
            self.undo_tag(repository, tag),
            self._undo_blob(repository, image.config_digest),
            self._undo_blob(repository, image.layer_digest),
        )
        return Operation(steps, (repository,), undo)

    def put_manifest(self, repository: str, reference: str, manifest: bytes, kind: str = MANIFEST_TYPE) -> LoadStep:
        path = self.path(repository, f"manifests/{reference}")
        return LoadStep("PUT", path, headers=[("Content-Type", kind)], body=manifest, expect=[201])

    def push_manifest(self, repository: str, digest: str, manifest: bytes, kind: str = MANIFEST_TYPE) -> Operation:
        """A manifest without a tag."""
        undo = [self.undo_manifest(repository, digest)]
        return Operation([self.put_manifest(repository, digest, manifest, kind)], (repository,), undo)

    def put_bytes(self, repository: str, body: bytes, digest: str) -> Operation:
        """A blob with these bytes."""
        return self._blob(repository, digest, self._put(repository, body, digest))

    def put_blob(self, repository: str, content: LoadContent) -> Operation:
        """POST, then one PUT of the whole blob."""
        digest = content.digest()
        return self._blob(repository, digest, self._put(repository, content, digest))

    def chunk_blob(self, repository: str, content: LoadContent) -> Operation:
        """POST, PATCHes of 5 MiB, and a PUT that closes the upload."""
        digest = content.digest()
        steps = [self._begin(repository)]
        for start in range(0, content.length, CHUNK):
            part = content.part(start, CHUNK)
            fields = [_STREAM, ("Content-Range", f"{start}-{start + part.length - 1}")]
            steps.append(LoadStep("PATCH", None, headers=fields, body=part, expect=[202]))
        steps.append(LoadStep("PUT", None, query=f"digest={digest}", expect=[201]))
        return self._blob(repository, digest, steps)

    def post_blob(self, repository: str, content: LoadContent) -> Operation:
        """The whole blob in one POST."""
        digest = content.digest()
        path = self.path(repository, "blobs/uploads/")
        step = LoadStep("POST", path, query=f"digest={digest}", headers=[_STREAM], body=content, expect=[201])
        return self._blob(repository, digest, [step])

    def mount_blob(self, source: str, target: str, digest: str) -> Operation:
        path = self.path(target, "blobs/uploads/")
        step = LoadStep("POST", path, query=f"mount={digest}&from={source}", expect=[201])
        return Operation([step], (source, target), [self._undo_blob(target, digest)])

    def undo_manifest(self, repository: str, digest: str) -> Undo:
        return Undo(_MANIFEST, self.path(repository, f"manifests/{digest}"))

    def undo_tag(self, repository: str, tag: str) -> Undo:
        return Undo(_TAG, self.path(repository, f"manifests/{tag}"), is_tag=True)

    def tags(self, repository: str, image: Image) -> Iterator[Operation]:
        """Different tags for the same image."""
        for number in count():
            tag = f"tag-{number:07}"
            yield Operation(
                [self.put_manifest(repository, tag, image.manifest)], (repository,), [self.undo_tag(repository, tag)]
            )

    def _begin(self, repository: str) -> LoadStep:
        return LoadStep("POST", self.path(repository, "blobs/uploads/"), expect=[202])

    def _put(self, repository: str, body: bytes | LoadContent, digest: str) -> list[LoadStep]:
        put = LoadStep("PUT", None, query=f"digest={digest}", headers=[_STREAM], body=body, expect=[201])
        return [self._begin(repository), put]

    def _patch(self, repository: str, body: bytes | LoadContent, digest: str) -> list[LoadStep]:
        patch = LoadStep("PATCH", None, headers=[_STREAM], body=body, expect=[202])
        return [self._begin(repository), patch, LoadStep("PUT", None, query=f"digest={digest}", expect=[201])]

    def _blob(self, repository: str, digest: str, steps: Sequence[LoadStep]) -> Operation:
        return Operation(steps, (repository,), [self._undo_blob(repository, digest)])

    def _undo_blob(self, repository: str, digest: str) -> Undo:
        return Undo(_BLOB, self.path(repository, f"blobs/{digest}"))
