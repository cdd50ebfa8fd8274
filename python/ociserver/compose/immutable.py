"""A registry that only grows (Go: `ocifilter.Immutable`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NoReturn

from ociserver._core import manifest_media_type, read_stored_manifest
from ociserver.adapt import if_any
from ociserver.compose.wrapper import ListerOf, ReaderOf, Wrapper, WriterOf
from ociserver.digests import content_digest
from ociserver.errors import OCIError
from ociserver.interface import PushedManifest
from ociserver.manifests import refused_retype

__all__ = ["Immutable"]


class Immutable(ReaderOf, WriterOf, ListerOf, Wrapper, reads_nowait=True):
    """Allows each tag to be set once, and denies every deletion (DENIED). Blobs and untagged manifests pass."""

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
        create_only: Collection[str] = (),
    ) -> PushedManifest:
        """Push, unless a tag points at another manifest. If all tags point at this one, nothing changes."""
        wanted = content_digest(content, digest)
        known = [await self._find(repository, tag) for tag in tags]
        for tag, found in zip(tags, known, strict=True):
            if found is not None and found != wanted:
                _refuse(f"tag {tag} cannot be overwritten")
        if tags and all(known):
            descriptor = await self.inner.resolve_tag(repository, tags[0])
            info = read_stored_manifest(content, descriptor.media_type)
            if manifest_media_type(content, media_type).lower() != descriptor.media_type.lower():
                raise refused_retype(descriptor.media_type, media_type, is_immutable=False)
            return PushedManifest(descriptor, tuple(tags), info.subject)
        pushed = await self.inner.push_manifest(
            repository, content, media_type, digest=digest, tags=tags, **if_any(create_only)
        )
        for tag in tags:
            if await self._find(repository, tag) != wanted:
                _refuse(f"another client set tag {tag} at the same time")
        return pushed

    async def delete_blob(self, repository: str, digest: str) -> None:
        """Always DENIED, even if the content does not exist."""
        _refuse("blobs cannot be deleted")

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Always DENIED, even if the content does not exist."""
        _refuse("manifests cannot be deleted")

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Always DENIED, even if the content does not exist."""
        _refuse("tags cannot be deleted")

    async def _find(self, repository: str, tag: str) -> str | None:
        try:
            return (await self.inner.resolve_tag(repository, tag)).digest
        except OCIError:
            # If this is more than a missing tag, the push gets the same error.
            return None


def _refuse(why: str) -> NoReturn:
    raise OCIError("DENIED", f"this store is immutable: {why}")
