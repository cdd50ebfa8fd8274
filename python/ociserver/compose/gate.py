"""A wrapper that checks the repository before each call passes."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from typing import Literal

from ociserver._core import ByteRange
from ociserver.adapt import if_any
from ociserver.compose.wrapper import Wrapper
from ociserver.errors import OCIError
from ociserver.interface import BlobReader, BlobWriter, Descriptor, Manifest, PushedManifest
from ociserver.iterators import closing

__all__ = ["Access", "Gate"]

Access = Literal["read", "write", "delete", "list"]


class Gate(Wrapper):
    """Passes on each call about a repository for which `enter` returns.

    A mount calls `enter` for the source, to read, and then for the target, to write. A mount without a source is
    UNSUPPORTED, because it could reveal the contents of a repository that this gate hides.

    A subclass implements `repositories`. A gate neither redirects clients to other servers (`locate_blob`,
    `locate_upload`) nor answers reads without waiting, unless a subclass adds that.
    """

    async def enter(self, access: Access, repository: str) -> str:
        """The name of the repository in `inner`, if this access is allowed.

        Raises:
            OCIError: it is not allowed.
        """
        raise NotImplementedError

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        return await self.inner.get_blob(await self.enter("read", repository), digest, range)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        return await self.inner.get_manifest(await self.enter("read", repository), digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return await self.inner.get_tag(await self.enter("read", repository), tag)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        return await self.inner.resolve_blob(await self.enter("read", repository), digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        return await self.inner.resolve_manifest(await self.enter("read", repository), digest)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return await self.inner.resolve_tag(await self.enter("read", repository), tag)

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        return await self.inner.push_blob(await self.enter("write", repository), descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        name = await self.enter("write", repository)
        return await self.inner.push_blob_chunked(name, chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        name = await self.enter("write", repository)
        return await self.inner.push_blob_chunked_resume(name, upload_id, offset=offset, digest=digest)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        if from_repository is None:
            raise OCIError("UNSUPPORTED", "a mount must name the repository that has the blob")
        source = await self.enter("read", from_repository)
        return await self.inner.mount_blob(source, await self.enter("write", to_repository), digest)

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
        name = await self.enter("write", repository)
        return await self.inner.push_manifest(
            name, content, media_type, digest=digest, tags=tags, **if_any(create_only)
        )

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self.inner.delete_blob(await self.enter("delete", repository), digest)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self.inner.delete_manifest(await self.enter("delete", repository), digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self.inner.delete_tag(await self.enter("delete", repository), tag)

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        name = await self.enter("list", repository)
        async with closing(self.inner.tags(name, start_after=start_after, limit=limit)) as tags:
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
        name = await self.enter("list", repository)
        found = self.inner.referrers(name, digest, artifact_type, start_after=start_after, limit=limit)
        async with closing(found) as descriptors:
            async for descriptor in descriptors:
                yield descriptor
