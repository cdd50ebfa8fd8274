"""The durable backend: metadata in a database, large contents in files."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ociserver._core import ByteRange, digest_of, is_digest, is_tag, read_manifest
from ociserver.errors import OCIError
from ociserver.interface import UNKNOWN_SIZE, Backend, BlobReader, Descriptor, Manifest, PushedManifest
from ociserver.store import reads, writes
from ociserver.store.directory import Directory
from ociserver.store.reader import FileReader, InlineReader
from ociserver.store.reads import BLOB_TYPE, Copy, UploadRow
from ociserver.store.sqlite import Durability, SQLite
from ociserver.store.upload import INLINE_SIZE, Upload
from ociserver.store.work import Database, Work

__all__ = ["Store"]

Item = TypeVar("Item")

PAGE: Final = 1_000
"""Rows that a list without a limit reads at a time; no transaction stays open between pages."""

RENEW_AFTER_S: Final = 3600
"""A HEAD renews a link at most once in this time, so that asking for a blob is not a write each time."""


class Store(Backend):
    """A registry in one folder: SQLite and files. Any number of processes may use it together.

    Args:
        path: the folder; made if it is not there.
        immutable_tags: a tag keeps its manifest, and nothing that a tag reaches can be deleted: DENIED.
        lax_child_references: accept manifests whose blobs or children are not there.
        durability: what a power cut may take of what was acknowledged. `full`: nothing. `normal`: the last
            moments. `off`: anything. What survives `kill -9` is the same in all three: everything.

    Raises:
        StoreError: when it is opened, if the folder cannot be used; the message says what to do.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        immutable_tags: bool = False,
        lax_child_references: bool = False,
        durability: Durability = "full",
    ) -> None:
        self.path = Path(path)
        self._immutable_tags = immutable_tags
        self._lax = lax_child_references
        self.database: Database = SQLite(self.path / "registry.db", durability)
        self.blobs = Directory(self.path / "blobs", sync=durability != "off")

    async def __aenter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        await self.blobs.open()
        await self.database.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.database.close()
        await self.blobs.close()

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        copy, _, _ = await self.database.read(reads.find_blob(repository, digest))
        span = (0, copy.size) if range is None else range.resolve(copy.size)
        if span is None:
            raise OCIError("RANGE_INVALID", detail={"size": copy.size})
        descriptor = Descriptor(BLOB_TYPE, digest, copy.size)
        if copy.bad:
            raise OCIError("BLOB_UNKNOWN")
        if copy.content is not None:
            return InlineReader(descriptor, copy.content, *span)
        fd = await self._open(repository, digest, copy)
        return FileReader(self.blobs, descriptor, fd, *span)

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        return await self.database.read(reads.find_manifest(repository, digest))

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return await self.database.read(reads.find_tag(repository, tag))

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        copy, renewed, number = await self.database.read(reads.find_blob(repository, digest))
        if not self._is_whole(copy):
            # Answered as missing, so that a client pushes it again, which heals it.
            raise OCIError("BLOB_UNKNOWN")
        now = int(time.time())
        if now - renewed > RENEW_AFTER_S:
            await self.database.write(writes.renew(number, copy.id, now), durable=False)
        return Descriptor(BLOB_TYPE, digest, copy.size)

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        return await self.database.read(reads.resolve_manifest(repository, digest))

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        return await self.database.read(reads.resolve_tag(repository, tag))

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        _check_digest(descriptor.digest)
        algorithm = descriptor.digest.partition(":")[0]
        head = b""
        upload: Upload | None = None
        try:
            async for data in chunks:
                if upload is None and len(head) + len(data) <= INLINE_SIZE:
                    head += data
                    continue
                if upload is None:
                    upload = await self.push_blob_chunked(repository, algorithm=algorithm)
                    await upload.write(head)
                await upload.write(data)
            size = upload.size if upload else len(head)
            if descriptor.size not in (UNKNOWN_SIZE, size):
                raise OCIError("SIZE_INVALID", detail={"expected": descriptor.size, "received": size})
            if upload:
                return await upload.commit(descriptor.digest)
            found = digest_of(head, algorithm)
            if found != descriptor.digest:
                raise OCIError("DIGEST_INVALID", detail={"digest": descriptor.digest, "content": found})
            # One commit, and no upload that anybody could go on with.
            return await self.link(repository, found, size, upload_id=None, content=head)
        finally:
            if upload:
                await upload.cancel()

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> Upload:
        row = UploadRow(secrets.token_hex(16), algorithm, 0, b"")
        # Not synced: a power cut ends the uploads of its last moments, and nobody was promised otherwise.
        await self.database.write(writes.start_upload(repository, row.id, algorithm, int(time.time())), durable=False)
        return Upload(self, repository, row, 0)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> Upload:
        row = await self.database.read(reads.find_upload(repository, upload_id))
        if row.size > 0:
            # After a power cut less may be there than was recorded: the client is told what there is.
            row = UploadRow(row.id, row.algorithm, min(row.size, self.blobs.size(row.id) or 0), row.state)
        return Upload(self, repository, row, offset)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        copy = await self.database.read(reads.copy_of(digest))
        if copy is not None and not self._is_whole(copy):
            raise OCIError("BLOB_UNKNOWN")
        linked = await self.database.write(writes.mount(from_repository, to_repository, digest, int(time.time())))
        return Descriptor(BLOB_TYPE, digest, linked.size)

    async def push_manifest(
        self,
        repository: str,
        content: bytes,
        media_type: str,
        *,
        digest: str | None = None,
        tags: Sequence[str] = (),
    ) -> PushedManifest:
        if digest is not None:
            _check_digest(digest)
        for tag in tags:
            if not is_tag(tag):
                raise OCIError("MANIFEST_INVALID", f"{tag!r} is not a tag")
        found = digest_of(content, digest.partition(":")[0] if digest else "sha256")
        if digest not in (None, found):
            raise OCIError("DIGEST_INVALID", detail={"digest": digest, "content": found})
        info = read_manifest(content, media_type, lax=self._lax)
        descriptor = Descriptor(media_type, found, len(content))
        await self.database.write(
            writes.push_manifest(
                repository,
                descriptor,
                content,
                info,
                tags,
                immutable_tags=self._immutable_tags,
                lax=self._lax,
                now=int(time.time()),
            )
        )
        return PushedManifest(descriptor, tuple(tags), info.subject)

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        await self.database.write(
            writes.delete_blob(repository, digest, immutable_tags=self._immutable_tags, now=int(time.time()))
        )

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self.database.write(writes.delete_manifest(repository, digest, immutable_tags=self._immutable_tags))

    async def delete_tag(self, repository: str, tag: str) -> None:
        await self.database.write(writes.delete_tag(repository, tag, immutable_tags=self._immutable_tags))

    async def delete_repository(self, repository: str) -> None:
        """Delete a repository and all that it holds, in one transaction: an extension, no request of the protocol.

        Collection frees the bytes that no other repository links.

        Raises:
            OCIError: NAME_UNKNOWN; DENIED if tags are immutable and it has any.
        """
        if self._immutable_tags:
            async for _ in self.tags(repository, limit=1):
                raise OCIError("DENIED", "the repository has tags, and tags are immutable in this registry")
        await self.database.write(writes.delete_repository(repository, int(time.time())))

    # Lister

    async def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        async for name in self._pages(reads.repositories_after, str, start_after, limit):
            yield name

    async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        def page(after: str, size: int) -> Work[list[str]]:
            return reads.tags_after(repository, after, size)

        async for name in self._pages(page, str, start_after, limit):
            yield name

    async def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        def page(after: str, size: int) -> Work[list[Descriptor]]:
            return reads.referrers_after(repository, digest, artifact_type, after, size)

        async for descriptor in self._pages(page, _digest, start_after, limit):
            yield descriptor

    # What uploads need of the store

    async def link(
        self, repository: str, digest: str, size: int, *, upload_id: str | None, content: bytes | None
    ) -> Descriptor:
        """Make verified and synced bytes a blob, and end their upload, if they came by one."""
        copy = await self.database.read(reads.copy_of(digest))
        healthy = copy.key if copy is not None and self._is_whole(copy) else None
        linked = await self.database.write(
            writes.finish_blob(
                repository,
                digest,
                size,
                upload_id=upload_id,
                content=content,
                healthy=healthy,
                now=int(time.time()),
            )
        )
        await self.blobs.delete(linked.dropped)
        return linked.descriptor

    # Shared

    def _is_whole(self, copy: Copy) -> bool:
        return not copy.bad and (copy.key is None or self.blobs.size(copy.key) == copy.size)

    async def _open(self, repository: str, digest: str, copy: Copy) -> int:
        assert copy.key is not None
        fd = self.blobs.open_file(copy.key, copy.size)
        if fd is None:
            # A re-push may have replaced the copy between the two looks.
            again, _, _ = await self.database.read(reads.find_blob(repository, digest))
            if again.key is not None and again.key != copy.key:
                fd = self.blobs.open_file(again.key, again.size)
        if fd is None:
            raise OCIError("BLOB_UNKNOWN")
        return fd

    async def _pages(
        self,
        page: Callable[[str, int], Work[list[Item]]],
        position: Callable[[Item], str],
        start_after: str,
        limit: int | None,
    ) -> AsyncIterator[Item]:
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            items = await self.database.read(page(start_after, size))
            for item in items:
                yield item
            if len(items) < size:
                return
            start_after = position(items[-1])
            if limit is not None:
                limit -= size


def _digest(descriptor: Descriptor) -> str:
    return descriptor.digest


def _check_digest(digest: str) -> None:
    if not is_digest(digest):
        raise OCIError("DIGEST_INVALID", "badly formed digest")
