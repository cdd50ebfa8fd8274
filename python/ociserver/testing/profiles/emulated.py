"""The part of a profile that is a backend in front of another: what the registry refuses, and how it lists tags."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Any

from ociserver.compose.wrapper import DeleterOf, ListerOf, ReaderOf, Wrapper, WriterOf
from ociserver.errors import OCIError
from ociserver.iterators import closing

if TYPE_CHECKING:
    from ociserver.interface import BlobWriter, Descriptor, PushedManifest
    from ociserver.testing.profiles.profile import Profile

__all__ = ["Emulated"]


class Emulated(ReaderOf, WriterOf, DeleterOf, ListerOf, Wrapper):
    """Does what a profile says, with the contents of another backend.

    Args:
        backend: holds the contents.
        profile: how the registry behaves.
        creates: whether a push creates its repository, whatever the profile says.
    """

    def __init__(self, backend: Any, profile: Profile, *, creates: bool = False) -> None:
        super().__init__(backend)
        self._profile = profile
        self._creates = creates or profile.needs_repository is None
        self._created: set[str] = set()
        self._order: dict[str, list[str]] = {}

    def create(self, repository: str) -> None:
        """Create a repository, for registries that do not create them on a push."""
        self._created.add(repository)

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        self._check_repository(repository)
        return await super().push_blob(repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> BlobWriter:
        self._check_repository(repository)
        return await super().push_blob_chunked(repository, chunk_size=chunk_size, algorithm=algorithm)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        self._check_repository(to_repository)
        if not self._profile.mounts:
            raise OCIError("UNSUPPORTED")
        return await super().mount_blob(from_repository, to_repository, digest)

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
        self._check_repository(repository)
        pushed = await super().push_manifest(
            repository, content, media_type, digest=digest, tags=tags, create_only=create_only
        )
        order = self._order.setdefault(repository, [])
        order.extend(tag for tag in tags if tag not in order)
        return pushed

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        self._refuse("delete_blob", repository)
        await super().delete_blob(repository, digest)

    async def delete_manifest(self, repository: str, digest: str) -> None:
        self._refuse("delete_manifest", repository)
        if self._profile.refuses_tagged is not None:
            async with closing(self.inner.tags(repository)) as tags:
                async for tag in tags:
                    if (await self.inner.resolve_tag(repository, tag)).digest == digest:
                        raise self._profile.refuses_tagged.error(repository, tag)
        await super().delete_manifest(repository, digest)

    async def delete_tag(self, repository: str, tag: str) -> None:
        self._refuse("delete_tag", repository, tag)
        await super().delete_tag(repository, tag)

    # Lister

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        self._refuse("repositories")
        return super().repositories(start_after=start_after, limit=limit)

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        if self._profile.lists_tags_as_pushed:
            return self._tags_as_pushed(repository, start_after)
        return super().tags(repository, start_after=start_after, limit=limit)

    async def _tags_as_pushed(self, repository: str, start_after: str) -> AsyncIterator[str]:
        async with closing(self.inner.tags(repository)) as tags:
            there = {tag async for tag in tags}
        order = self._order.get(repository, [])
        # Tags of a store that were there before.
        order = [tag for tag in order if tag in there] + sorted(there.difference(order))
        for tag in order[order.index(start_after) + 1 if start_after in order else 0 :]:
            yield tag

    # Shared

    def _refuse(self, method: str, repository: str = "", tag: str = "") -> None:
        refusal = self._profile.refusals.get(method)
        if refusal is not None:
            raise refusal.error(repository, tag)

    def _check_repository(self, repository: str) -> None:
        refusal = self._profile.needs_repository
        if refusal is not None and not self._creates and repository not in self._created:
            raise refusal.error(repository)
