"""Copies manifests with all that they need. Copies each content once, and none that the destination has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal, Self

from ociserver.copy.blobs import Blobs
from ociserver.copy.ends import CopyError, Ends, MissingPartError, is_missing, is_there, listed, saying
from ociserver.copy.parts import Part, parts_of, read
from ociserver.copy.platforms import Platform, PlatformError, choose
from ociserver.copy.progress import Progress
from ociserver.copy.sharing import Once, Shared, each, together
from ociserver.errors import OCIError
from ociserver.interface import Descriptor, Manifest

__all__ = ["Copied", "Copy", "Settings"]

MAX_DEPTH: Final = 16
"""Deepest nesting of indexes. Real images have two levels. Deeper ones could exhaust the stack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to copy.

    Args:
        platform: from an index, copy only the image of this platform; None to copy the index with all its images.
        referrers: also copy what refers to each manifest, such as signatures, and what refers to those.
        recheck: check each content at the destination, and not only the manifest that names it.
        mount: source and destination are repositories of one registry, which can mount blobs.
        jobs: maximum number of concurrent transfers. A blob needs memory for a few pieces, whatever its size.
    """

    platform: Platform | None = None
    referrers: bool = False
    recheck: bool = False
    mount: bool = False
    jobs: int = 4


@dataclass(frozen=True, slots=True)
class Copied:
    """One image that was copied, or the error.

    Args:
        tag: of the image.
        descriptor: of the manifest at the destination; None after an error.
        error: None after success.
    """

    tag: str
    descriptor: Descriptor | None = None
    error: CopyError | PlatformError | None = None


class Copy:
    """Copies between two repositories. Use it in `async with`. The caller opens and closes the backends.

    Args:
        ends: source and destination.
        settings: how to copy.
        progress: counts all copies. A content that several of them share is copied once.
        shared: what it shares with copies of other repositories to the same registry.
    """

    def __init__(
        self,
        ends: Ends,
        settings: Settings | None = None,
        progress: Progress | None = None,
        shared: Shared | None = None,
    ) -> None:
        self._ends = ends
        self._settings = settings or Settings()
        self._progress = progress or Progress()
        shared = shared or Shared(self._settings.jobs)
        self._slots = shared.slots
        self._blobs = Blobs(ends, shared, self._progress, mount=self._settings.mount)
        self._manifests = Once()
        self._referred: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._manifests.close()
        await self._blobs.aclose()

    async def tag(self, tag: str, *to_tags: str) -> Descriptor:
        """Copy the manifest of a tag, and set the tags `to_tags` at the destination.

        Raises:
            CopyError: a registry refuses, or cannot be reached.
            PlatformError: the image does not exist for the platform.
        """
        with saying("source", f"tag {tag}"):
            manifest = await self._ends.source.get_tag(self._ends.from_repository, tag)
        return await self._image(manifest, to_tags)

    async def digest(self, digest: str, *to_tags: str) -> Descriptor:
        """Copy the manifest of a digest; see `tag`."""
        return await self._image(await self._get(digest), to_tags)

    async def all_tags(self) -> AsyncIterator[Copied]:
        """Copy every tag under the same name, several concurrently. Continues with the other tags after an error.

        Raises:
            CopyError: the source does not list its tags, or a registry cannot be reached.
        """

        async def work(tag: str) -> Copied:
            try:
                return Copied(tag, await self.tag(tag, tag))
            except (CopyError, PlatformError) as error:
                if isinstance(error, CopyError) and error.is_unreachable:
                    raise
                return Copied(tag, error=error)

        tags = listed(self._ends.source.tags(self._ends.from_repository), "the list of tags")
        async with aclosing(each(tags, work, self._settings.jobs)) as results:
            async for copied in results:
                yield copied

    async def _image(self, manifest: Manifest, tags: tuple[str, ...]) -> Descriptor:
        if self._settings.platform is not None:
            with saying("source", f"manifest {manifest.descriptor.digest}"):
                manifest = await choose(
                    self._ends.source, self._ends.from_repository, manifest, self._settings.platform
                )
        digest = manifest.descriptor.digest
        found, is_first = [digest], False

        async def copy() -> None:
            nonlocal is_first
            is_first = True
            await self._manifest(manifest, tags, found, MAX_DEPTH)

        # Another tag or an index may name the same manifest and may be copying it.
        await self._manifests.do(digest, copy)
        if not is_first:
            await self._set(manifest, tags, there=True)
        # A growing list instead of recursion: so a cycle of referrers cannot make a copy wait for itself.
        for digest in found:
            if self._settings.referrers and digest not in self._referred:
                self._referred.add(digest)
                await self._copy_referrers(digest, found)
        return manifest.descriptor

    async def _manifest(self, manifest: Manifest, tags: tuple[str, ...], found: list[str], depth: int) -> None:
        """Copy what a manifest needs, then the manifest, and set its tags.

        Args:
            manifest: from the source.
            tags: to set.
            found: gets the digests of the copied children, for the search for referrers.
            depth: how many further levels of indexes are allowed.
        """
        digest = manifest.descriptor.digest
        if depth == 0:
            with saying("source", f"manifest {digest}"):
                raise OCIError("MANIFEST_INVALID", f"it is nested in more than {MAX_DEPTH} indexes")
        manifest, info = read(manifest)
        there = await self._is_there(digest)
        parts = parts_of(info)
        if there and not self._settings.recheck:
            # A registry accepts a manifest only with its contents. But referrers may have been added since.
            parts = [part for part in parts if part.kind == "manifest" and self._settings.referrers]
        await together([self._part(part, digest, found, depth - 1) for part in parts])
        await self._set(manifest, tags, there=there)
        self._progress.add(**{"manifests_existing" if there else "manifests_copied": 1})

    async def _part(self, part: Part, parent: str, found: list[str], depth: int) -> None:
        kinds: tuple[Literal["blob", "manifest"], ...] = (
            ("blob", "manifest") if part.kind == "unknown" else (part.kind,)
        )
        for kind in kinds:
            try:
                if kind == "blob":
                    await self._blobs.copy(part)
                else:
                    await self._manifests.do(part.digest, lambda: self._child(part.digest, found, depth))
                    found.append(part.digest)
            except CopyError as error:
                if not is_missing(error, part.digest):
                    raise
            else:
                return
        if part.required:
            raise MissingPartError(part, parent)

    async def _child(self, digest: str, found: list[str], depth: int) -> None:
        await self._manifest(await self._get(digest), (), found, depth)

    async def _get(self, digest: str) -> Manifest:
        async with self._slots:
            with saying("source", f"manifest {digest}"):
                return await self._ends.source.get_manifest(self._ends.from_repository, digest)

    async def _is_there(self, digest: str) -> bool:
        async with self._slots:
            resolved = self._ends.target.resolve_manifest(self._ends.to_repository, digest)
            return await is_there(resolved, f"manifest {digest}")

    async def _set(self, manifest: Manifest, tags: tuple[str, ...], *, there: bool) -> None:
        """Set the tags that do not name the manifest yet, and push the manifest unless it is `there`."""
        async with self._slots:
            missing = [tag for tag in tags if not (there and await self._names(tag, manifest.descriptor.digest))]
            if missing or not there:
                await self._push(manifest, missing)

    async def _push(self, manifest: Manifest, tags: list[str]) -> None:
        described = manifest.descriptor
        with saying("destination", f"manifest {described.digest}"):
            await self._ends.target.push_manifest(
                self._ends.to_repository, manifest.content, described.media_type, digest=described.digest, tags=tags
            )

    async def _names(self, tag: str, digest: str) -> bool:
        """Whether the destination's tag already points at this manifest."""
        target, repository = self._ends.target, self._ends.to_repository
        try:
            with saying("destination", f"tag {tag}"):
                return (await target.resolve_tag(repository, tag)).digest == digest
        except CopyError as error:
            if error.is_unreachable:
                raise
            return False

    async def _copy_referrers(self, subject: str, found: list[str]) -> None:
        with saying("source", f"referrers of {subject}"):
            listed = self._ends.source.referrers(self._ends.from_repository, subject)
            digests = [entry.digest async for entry in listed]
        await together([self._referrer(subject, digest, found) for digest in digests])

    async def _referrer(self, subject: str, digest: str, found: list[str]) -> None:
        manifest = await self._get(digest)
        # A registry can list anything. Only a manifest that names the subject refers to it.
        _, info = read(manifest)
        if info.subject == subject:
            await self._manifests.do(digest, lambda: self._manifest(manifest, (), found, MAX_DEPTH))
            found.append(digest)
