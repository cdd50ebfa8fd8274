"""A registry that only grows (Go: `ocifilter.Immutable`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from ociserver._core import digest_of, is_digest, read_manifest
from ociserver.compose.wrapper import ListerOf, ReaderOf, Wrapper, WriterOf
from ociserver.errors import OCIError
from ociserver.interface import PushedManifest

__all__ = ["Immutable"]


class Immutable(ReaderOf, WriterOf, ListerOf, Wrapper):
    """Lets tags be set once, and nothing be deleted: DENIED. Blobs and untagged manifests pass."""

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        """Push, unless a tag is taken. Pushing what the tags already point at changes nothing."""
        if digest is not None and not is_digest(digest):
            raise OCIError("DIGEST_INVALID", "badly formed digest")
        wanted = digest_of(content, digest.partition(":")[0] if digest else "sha256")
        if digest not in (None, wanted):
            raise OCIError("DIGEST_INVALID", detail={"digest": digest, "content": wanted})
        known = [await self._find(repository, tag) for tag in tags]
        for tag, found in zip(tags, known, strict=True):
            if found is not None and found != wanted:
                _refuse(f"tag {tag} cannot be overwritten")
        if tags and all(known):
            descriptor = await self.inner.resolve_tag(repository, tags[0])
            return PushedManifest(
                descriptor, tuple(tags), read_manifest(content, descriptor.media_type, lax=True).subject
            )
        pushed = await self.inner.push_manifest(repository, content, media_type, digest=digest, tags=tags)
        for tag in tags:
            if await self._find(repository, tag) != wanted:
                _refuse(f"tag {tag} was set by somebody else at the same time")
        return pushed

    async def delete_blob(self, repository: str, digest: str) -> None:
        """Always DENIED, even for what is not there."""
        _refuse("blobs cannot be deleted")

    async def delete_manifest(self, repository: str, digest: str) -> None:
        """Always DENIED, even for what is not there."""
        _refuse("manifests cannot be deleted")

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Always DENIED, even for what is not there."""
        _refuse("tags cannot be deleted")

    async def _find(self, repository: str, tag: str) -> str | None:
        try:
            return (await self.inner.resolve_tag(repository, tag)).digest
        except OCIError:
            # Whatever keeps it from being resolved, the push itself will meet it as well.
            return None


def _refuse(why: str) -> NoReturn:
    raise OCIError("DENIED", f"this store is immutable: {why}")
