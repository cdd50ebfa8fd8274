"""A registry that asks, before each call, whether it may be (Go: `ocifilter.AccessChecker`)."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, Literal

from ociserver._core import ByteRange
from ociserver.compose.wrapper import Wrapper
from ociserver.errors import OCIError
from ociserver.interface import BlobReader, BlobWriter, Descriptor, Manifest, PushedManifest
from ociserver.iterators import closing

__all__ = ["CATALOG", "Access", "AccessChecker", "Check"]

Access = Literal["read", "write", "delete", "list"]

Check = Callable[[str, Access], bool | Awaitable[bool | None] | None]

CATALOG: Final = "*"
"""The repository that a check is asked about for the list of repositories. No repository has this name."""


class AccessChecker(Wrapper):
    """Calls `check` with a repository and a kind of access before anything else happens.

    The check refuses by raising: what it raises is what the caller gets. Returning False refuses with DENIED.
    It may be asynchronous, and finds who asks in `ociserver.request_context`.

    A mount asks for `read` where the blob is from, then for `write` where it goes to; one from anywhere is
    UNSUPPORTED, since it could tell what a repository holds that may not be read. The list of repositories asks
    for `list` of `CATALOG`, then for `read` of each, and leaves out those for which an `OCIError` is raised.

    Args:
        backend: the whole registry.
        check: see above.
    """

    def __init__(self, backend: Any, check: Check) -> None:
        super().__init__(backend)
        self._check_access = check

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        await self._check(repository, "read")
        return await self.inner.get_blob(repository, digest, range)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        await self._check(repository, "read")
        return await self.inner.get_manifest(repository, digest)

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        await self._check(repository, "read")
        return await self.inner.get_tag(repository, tag)

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        await self._check(repository, "read")
        return await self.inner.resolve_blob(repository, digest)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        await self._check(repository, "read")
        return await self.inner.resolve_manifest(repository, digest)

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        await self._check(repository, "read")
        return await self.inner.resolve_tag(repository, tag)

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        await self._check(repository, "write")
        return await self.inner.push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        await self._check(repository, "write")
        return await self.inner.push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> BlobWriter:
        await self._check(repository, "write")
        return await self.inner.push_blob_chunked_resume(repository, upload_id, offset=offset, digest=digest)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        if from_repository is None:
            raise OCIError("UNSUPPORTED", "a mount has to name the repository that it is from")
        await self._check(from_repository, "read")
        await self._check(to_repository, "write")
        return await self.inner.mount_blob(from_repository, to_repository, digest)

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        await self._check(repository, "write")
        return await self.inner.push_manifest(repository, content, media_type, digest=digest, tags=tags)

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self._check(repository, "delete")
        await self.inner.delete_blob(repository, digest)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self._check(repository, "delete")
        await self.inner.delete_manifest(repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self._check(repository, "delete")
        await self.inner.delete_tag(repository, tag)

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        """Those that may be read; a page may ask about many others to find its own."""
        await self._check(CATALOG, "list")
        count = 0
        # Without a limit the inner list comes page by page, for as long as it is asked for more.
        async with closing(self.inner.repositories(start_after=start_after)) as names:
            async for name in names:
                if limit is not None and count >= limit:
                    return
                if await self._is_readable(name):
                    count += 1
                    yield name

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        await self._check(repository, "list")
        async with closing(self.inner.tags(repository, start_after=start_after, limit=limit)) as tags:
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
        await self._check(repository, "list")
        found = self.inner.referrers(repository, digest, artifact_type, start_after=start_after, limit=limit)
        async with closing(found) as descriptors:
            async for descriptor in descriptors:
                yield descriptor

    async def _check(self, repository: str, access: Access) -> None:
        answer = self._check_access(repository, access)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer is False:
            raise OCIError("DENIED")

    async def _is_readable(self, repository: str) -> bool:
        try:
            await self._check(repository, "read")
        except OCIError:
            return False
        return True
