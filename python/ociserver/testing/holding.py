"""What a registry in a test holds: a test puts contents there, and reads what clients have pushed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ociserver.testing import contents
from ociserver.testing.contents import Content, Files
from ociserver.testing.profiles.emulated import Emulated
from ociserver.testing.pushed import Pushed

if TYPE_CHECKING:
    from ociserver.interface import Backend, Descriptor
    from ociserver.testing.server import Server

__all__ = ["Holding"]

ARTIFACT_TYPE: Final = "application/vnd.ociserver.test"
PLATFORM: Final = "linux/amd64"
FILES: Final[Files] = {"hello.txt": "hello\n"}
"""What is pushed if a test does not say what."""


class Holding:
    """The part of a `Registry` that puts and reads contents. It waits until that is done, and makes no request."""

    _server: Server
    _backend: Backend
    """Holds the contents. It is what tests read."""
    _writer: Backend
    """The same contents, as a profile lets them be written."""

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as in the names of images."""
        return f"127.0.0.1:{self._server.port}"

    def push(
        self,
        repository: str,
        tag: str | None = None,
        files: Files | None = None,
        *,
        artifact_type: str = ARTIFACT_TYPE,
        media_type: str = contents.OCTETS,
        annotations: Mapping[str, str] | None = None,
        subject: Pushed | Descriptor | None = None,
    ) -> Pushed:
        """Put an artifact into the registry: a manifest with one blob for each file.

        Args:
            repository: where to put it.
            tag: that points at it; None: no tag.
            files: contents by name, which becomes the title of the blob; by default one file.
            artifact_type: of the manifest.
            media_type: of the files.
            annotations: of the manifest.
            subject: the manifest that the artifact refers to, as a signature does.

        Raises:
            OCIError: the registry refuses it.
        """
        described = subject.descriptor if isinstance(subject, Pushed) else subject
        manifest = contents.artifact(
            FILES if files is None else files,
            artifact_type=artifact_type,
            media_type=media_type,
            annotations=annotations,
            subject=described,
        )
        return self._put(repository, tag, manifest)

    def image(
        self,
        repository: str,
        tag: str | None = None,
        files: Files | None = None,
        *,
        layers: Sequence[Files] | None = None,
        platform: str = PLATFORM,
        platforms: Iterable[str] | None = None,
        config: Mapping[str, Any] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Pushed:
        """Put an image into the registry, with a configuration and compressed layers.

        Args:
            repository: where to put it.
            tag: that points at it; None: no tag.
            files: contents by path, for an image of one layer; by default one file.
            layers: the files of each layer, instead of `files`.
            platform: `os/architecture[/variant]` of the image.
            platforms: push an index instead, with an image for each of these platforms (`Pushed.manifests`). All have
                the same layers.
            config: how to run the image: `Env`, `Entrypoint`, `Labels`, ...
            annotations: of the image, or of the index.

        Raises:
            ValueError: `files` and `layers` are both given, or a platform is malformed.
            OCIError: the registry refuses it.
        """
        if files is not None and layers is not None:
            raise ValueError("give either `files`, for one layer, or `layers`")
        made = [FILES if files is None else files] if layers is None else list(layers)
        if platforms is None:
            manifest = contents.image(made, platform=platform, config=config, annotations=annotations)
            return self._put(repository, tag, manifest)
        images = {name: contents.image(made, platform=name, config=config) for name in platforms}
        children = {name: self._put(repository, None, each) for name, each in images.items()}
        return self._put(repository, tag, contents.index(images, annotations), children)

    def push_blob(self, repository: str, content: Content, *, media_type: str = contents.OCTETS) -> Descriptor:
        """Put a blob into the registry. Returns its descriptor."""
        blob = contents.Blob(contents.read(content), media_type)
        return self._server.call(self._push_blob(repository, blob))

    def push_manifest(
        self, repository: str, tag: str | None, document: Mapping[str, Any] | bytes, *, media_type: str | None = None
    ) -> Pushed:
        """Put any manifest into the registry.

        Args:
            repository: where to put it.
            tag: that points at it; None: no tag.
            document: the manifest, or its bytes.
            media_type: its type; by default its `mediaType`.

        Raises:
            ValueError: it has no type.
            OCIError: the registry refuses it.
        """
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        kind = media_type or json.loads(content).get("mediaType")
        if not kind:
            raise ValueError("the manifest has no `mediaType`: give `media_type`")
        return self._put(repository, tag, contents.Manifest(content, kind))

    def create_repository(self, repository: str) -> None:
        """Create a repository, for profiles of registries that refuse a push to one that nobody has created.

        `push` and `image` do that on their own.
        """
        if isinstance(self._writer, Emulated):
            self._writer.create(repository)

    def repositories(self) -> list[str]:
        """The repositories that hold something."""
        return self._server.call(_listed(self._backend.repositories()))

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository; none if it does not exist."""
        if repository not in self.repositories():
            return []
        return self._server.call(_listed(self._backend.tags(repository)))

    def manifest(self, repository: str, reference: str) -> Any:
        """A manifest, decoded, by tag or digest.

        Raises:
            OCIError: there is none.
        """
        get = self._backend.get_manifest if ":" in reference else self._backend.get_tag
        return json.loads(self._server.call(get(repository, reference)).content)

    def digest(self, repository: str, tag: str) -> str:
        """The digest of the manifest that a tag points at.

        Raises:
            OCIError: there is none.
        """
        return self._server.call(self._backend.resolve_tag(repository, tag)).digest

    def blob(self, repository: str, digest: str) -> bytes:
        """The bytes of a blob.

        Raises:
            OCIError: there is none.
        """
        return self._server.call(self._read_blob(repository, digest))

    # Shared

    def _put(
        self, repository: str, tag: str | None, manifest: contents.Manifest, children: dict[str, Pushed] | None = None
    ) -> Pushed:
        descriptor = self._server.call(self._push(repository, tag, manifest))
        blobs = tuple(blob.descriptor for blob in manifest.blobs)
        return Pushed(self.host, repository, tag, descriptor, manifest.content, blobs, children or {})

    async def _push(self, repository: str, tag: str | None, manifest: contents.Manifest) -> Descriptor:
        for blob in manifest.blobs:
            await self._push_blob(repository, blob)
        self.create_repository(repository)
        pushed = await self._writer.push_manifest(
            repository, manifest.content, manifest.media_type, tags=() if tag is None else (tag,)
        )
        return pushed.descriptor

    async def _push_blob(self, repository: str, blob: contents.Blob) -> Descriptor:
        async def pieces() -> AsyncIterator[bytes]:
            yield blob.content

        self.create_repository(repository)
        await self._writer.push_blob(repository, blob.descriptor, pieces())
        return blob.descriptor

    async def _read_blob(self, repository: str, digest: str) -> bytes:
        reader = await self._backend.get_blob(repository, digest)
        try:
            return b"".join([piece async for piece in reader])
        finally:
            await reader.aclose()


async def _listed(names: AsyncIterator[str]) -> list[str]:
    return [name async for name in names]
