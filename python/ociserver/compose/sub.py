"""The repositories below a prefix, as a registry of their own (Go: `ocifilter.Sub`)."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

from ociserver._core import ByteRange, is_repository
from ociserver.compose.wrapper import Wrapper
from ociserver.errors import OCIError
from ociserver.interface import BlobReader, BlobWriter, Descriptor, Manifest, PushedManifest, Url
from ociserver.iterators import closing

__all__ = ["Sub"]


class Sub(Wrapper):
    """Shows `prefix/name` as `name`, and nothing else: neither `prefix` itself nor what only begins like it.

    A mount from anywhere is UNSUPPORTED, since it could tell what lies outside of the prefix.

    Args:
        backend: the whole registry.
        prefix: one or more elements of a repository's name, such as `team` or `team/project`; "" shows everything.

    Raises:
        ValueError: the prefix is none.
    """

    def __init__(self, backend: Any, prefix: str) -> None:
        if prefix and not is_repository(prefix):
            raise ValueError(f"{prefix!r} is no prefix of repositories; write elements of a name, such as team/project")
        super().__init__(backend)
        self._prefix = f"{prefix}/" if prefix else ""

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        return await self.inner.get_blob(self._within(repository), digest, range)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        return await self.inner.get_manifest(self._within(repository), digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return await self.inner.get_tag(self._within(repository), tag)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        return await self.inner.resolve_blob(self._within(repository), digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        return await self.inner.resolve_manifest(self._within(repository), digest)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return await self.inner.resolve_tag(self._within(repository), tag)

    async def locate_blob(self, repository: str, digest: str) -> Url | None:
        return await self.inner.locate_blob(self._within(repository), digest)

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        return await self.inner.push_blob(self._within(repository), descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        return await self.inner.push_blob_chunked(self._within(repository), chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        name = self._within(repository)
        return await self.inner.push_blob_chunked_resume(name, upload_id, offset=offset, digest=digest)

    async def locate_upload(self, repository: str, upload_id: str) -> Url | None:
        return await self.inner.locate_upload(self._within(repository), upload_id)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        if from_repository is None:
            raise OCIError("UNSUPPORTED", "a mount has to name the repository that it is from")
        return await self.inner.mount_blob(self._within(from_repository), self._within(to_repository), digest)

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        return await self.inner.push_manifest(self._within(repository), content, media_type, digest=digest, tags=tags)

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self.inner.delete_blob(self._within(repository), digest)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self.inner.delete_manifest(self._within(repository), digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self.inner.delete_tag(self._within(repository), tag)

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        # Names with the prefix stand together in the order of the whole list, and nothing sorts before them
        # that begins with it: so a page here is a page there.
        found = self.inner.repositories(start_after=self._prefix + start_after, limit=limit)
        async with closing(found) as names:
            async for name in names:
                if not name.startswith(self._prefix):
                    return
                yield name.removeprefix(self._prefix)

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        found = self.inner.tags(self._within(repository), start_after=start_after, limit=limit)
        async with closing(found) as tags:
            async for tag in tags:
                yield tag

    async def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        name = self._within(repository)
        found = self.inner.referrers(name, digest, artifact_type, start_after=start_after, limit=limit)
        async with closing(found) as descriptors:
            async for descriptor in descriptors:
                yield descriptor

    def _within(self, repository: str) -> str:
        # Checked before it is joined: `../x` must not lead out, whatever the backend makes of a path.
        if not is_repository(repository):
            raise OCIError("NAME_INVALID")
        return self._prefix + repository
