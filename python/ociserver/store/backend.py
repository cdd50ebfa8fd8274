"""The durable backend: metadata in a database, large contents in files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ociserver._core import ByteRange, digest_of, is_digest
from ociserver.adapt import write_all
from ociserver.errors import OCIError
from ociserver.interface import UNKNOWN_SIZE, BlobReader, Descriptor, Manifest, PushedManifest
from ociserver.manifests import read_pushed
from ociserver.store import manifests, reads, sweep, writes
from ociserver.store.directory import Directory
from ociserver.store.faults import StoreError, is_full_below, of_disk
from ociserver.store.folder import check_folder
from ociserver.store.glances import Glances
from ociserver.store.lists import Lists
from ociserver.store.modes import GROUP_READABLE, PRIVATE
from ociserver.store.reader import FileReader, InlineReader
from ociserver.store.reads import BLOB_TYPE, Copy, Link, Resolved, UploadRow
from ociserver.store.recent import Recent
from ociserver.store.reserve import Reserve
from ociserver.store.room import Room
from ociserver.store.sqlite import Durability, SQLite
from ociserver.store.upkeep import Upkeep
from ociserver.store.upload import INLINE_SIZE, Upload
from ociserver.store.work import Database, Work

__all__ = ["Store"]

Result = TypeVar("Result")

RENEW_AFTER_S: Final = 3600
"""See `renew_after_s`: an hour of the day that is the default of `Policy.unreferenced_after_s`."""

RENEWAL_WAIT_S: Final = 0.1
"""How long a HEAD waits for that: a read does not wait for a disk that is slow, or a database that is locked."""

MAX_REMEMBERED: Final = 256
"""Uploads that are remembered from one request until the next for them, some 0.5 KiB each and up to 16 KiB of content.
One that has been forgotten costs its next request a look into the database."""

_HEXADECIMAL: Final = frozenset(string.hexdigits)

_log = logging.getLogger("ociserver")


class Store(Lists, reads_nowait=True):
    """A registry in one folder: SQLite and files. Any number of processes may use it together.

    Args:
        path: the folder; made if it is not there. One that holds anything else, as another registry's data, is refused.
        immutable_tags: a tag keeps its manifest, and nothing that a tag reaches can be deleted: DENIED.
        lax_child_references: accept manifests whose blobs or children are not there.
        durability: what a power cut may take of what was acknowledged. `full`: nothing. `normal`: the last
            moments. `off`: anything. What survives `kill -9` is the same in all three: everything.
        renew_after_s: a HEAD renews a blob or a manifest at most this often, so that asking is not a write each time.
            A client that was told that it is there can count on the time of the collection's policy less this.
        group_readable: the group of the files may read them (0750 and 0640); otherwise only their user may. What
            exists keeps its mode.

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
        renew_after_s: float = RENEW_AFTER_S,
        group_readable: bool = False,
    ) -> None:
        self.path = Path(path)
        self.modes = GROUP_READABLE if group_readable else PRIVATE
        self.renew_after_s = renew_after_s
        self.writing: set[str] = set()
        # Uploads that this process has recorded last, as far as it knows, and is not at, by their ids.
        self._remembered: OrderedDict[str, tuple[str, UploadRow]] = OrderedDict()
        self._immutable_tags = immutable_tags
        self._lax = lax_child_references
        database = SQLite(self.path / "registry.db", durability, self.modes)
        self.database: Database = database
        self.blobs = Directory(self.path / "blobs", sync=durability != "off", settle=database.settle, modes=self.modes)
        self.room = Room(self.path, Reserve(self.path / "registry.reserve", self.modes), database.owed)
        self.upkeep = Upkeep(database, self.room)
        self._recent = Recent(self.database.version)
        self._glances = Glances(self.database, self._recent)
        self._opening = asyncio.Lock()
        self._openings = 0

    async def __aenter__(self) -> Self:
        # More than one handler may be over a store, or a handler over one that its owner has opened already.
        async with self._opening:
            if not self._openings:
                await self._open()
            self._openings += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        async with self._opening:
            self._openings = max(0, self._openings - 1)
            if not self._openings:
                await self._close()

    async def _open(self) -> None:
        try:
            check_folder(self.path)
            self.modes.make_folder(self.path)
            self._check_complete()
            while not await self._try_to_open():
                # On a full disk that takes some of the room that is kept for making room.
                pass
        except OSError as error:
            await self._close()
            raise StoreError(f"{self.path} cannot be used: {_reason(error)}") from error
        except BaseException:
            await self._close()
            raise

    async def _try_to_open(self) -> bool:
        """Open all parts; False if there was no room for that, of which there is more now."""
        try:
            await self.blobs.open()
            await self.database.open()
        except (OSError, StoreError) as error:
            if not is_full_below(error) or not self.room.give_slice():
                raise
            await self._close()
            return False
        self.upkeep.start()
        return True

    @property
    def unavailable(self) -> str | None:
        """Why nothing can be written just now, in words without paths; None while it can, as far as is known."""
        return self.database.unavailable

    # Reader

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        seen: str | None = None
        while True:
            descriptor, copy, _, _ = await self._find_blob(repository, digest)
            if copy.bad:
                raise OCIError("BLOB_UNKNOWN")
            span = (0, copy.size) if range is None else range.resolve(copy.size)
            if span is None:
                raise OCIError("RANGE_INVALID", detail={"size": copy.size})
            if copy.content is not None:
                return InlineReader(descriptor, copy.content, *span)
            assert copy.key is not None
            fd = self.blobs.open_file(copy.key, copy.size)
            if fd is not None:
                return FileReader(self.blobs, descriptor, fd, *span)
            if copy.key == seen:
                raise OCIError("BLOB_UNKNOWN")
            # A re-push may have replaced the copy between the two looks: then the next one is another.
            seen = copy.key

    async def get_manifest(self, repository: str, digest: str) -> Manifest:
        key = (repository, digest, "manifest")
        manifest: Manifest | None = self._recent.get(key)
        if manifest is None:
            generation = self._recent.begin()
            manifest = await self.database.read(reads.find_manifest(repository, digest))
            generation.put(key, manifest, manifest.content)
        return manifest

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        key = (repository, tag, "manifest")
        manifest: Manifest | None = self._recent.get(key)
        if manifest is None:
            generation = self._recent.begin()
            manifest = await self.database.read(reads.find_tag(repository, tag))
            generation.put(key, manifest, manifest.content)
        return manifest

    async def resolve_blob(self, repository: str, digest: str) -> Descriptor:
        link = await self._find_blob(repository, digest)
        if not self._is_whole(link.copy):
            again = await self._find_blob(repository, digest)
            if again.copy.key == link.copy.key or not self._is_whole(again.copy):
                # Answered as missing, so that a client pushes it again, which heals it.
                raise OCIError("BLOB_UNKNOWN")
            link = again  # a re-push had replaced it between the two looks
        now = int(time.time())
        if self._is_due(link.renewed) and not await self._renew(writes.renew(link.repository_id, link.copy.id, now)):
            raise OCIError("BLOB_UNKNOWN")
        return link.descriptor

    async def resolve_manifest(self, repository: str, digest: str) -> Descriptor:
        key = (repository, digest, "resolved")
        resolved: Resolved | None = self._recent.get(key)
        if resolved is None:
            generation = self._recent.begin()
            resolved = await self.database.read(reads.resolve_manifest(repository, digest))
            generation.put(key, resolved, None)
        now = int(time.time())
        if self._is_due(resolved.renewed) and not await self._renew(
            manifests.renew_manifest(resolved.manifest_id, now)
        ):
            raise OCIError("MANIFEST_UNKNOWN")
        return resolved.descriptor

    async def resolve_tag(self, repository: str, tag: str) -> Descriptor:
        key = (repository, tag, "resolved")
        resolved: Resolved | None = self._recent.get(key)
        if resolved is None:
            generation = self._recent.begin()
            resolved = await self.database.read(reads.resolve_tag(repository, tag))
            generation.put(key, resolved, None)
        # A tag keeps its manifest, whose age is counted from when that ends.
        return resolved.descriptor

    def read_nowait(self, kind: str, repository: str, reference: str) -> tuple[Descriptor, bytes | None] | None:
        if kind == "manifest_get":
            manifest: Manifest | None = self._recent.get((repository, reference, "manifest"))
            manifest = manifest or self._glances.manifest(repository, reference)
            return None if manifest is None else (manifest.descriptor, manifest.content)
        if kind == "manifest_head":
            resolved: Resolved | None = self._recent.get((repository, reference, "resolved"))
            resolved = resolved or self._glances.resolved(repository, reference)
            is_due = resolved is not None and ":" in reference and self._is_due(resolved.renewed)
            return None if resolved is None or is_due else (resolved.descriptor, None)
        link: Link | None = self._recent.get((repository, reference, "blob"))
        link = link or self._glances.blob(repository, reference)
        if link is None or link.copy.content is None or link.copy.bad:
            # What is in a file may have gone, or be short.
            return None
        if kind == "blob_head" and self._is_due(link.renewed):
            return None
        return link.descriptor, link.copy.content

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        _check_digest(descriptor.digest)
        algorithm = descriptor.digest.partition(":")[0]
        self.room.check()
        head = b""
        upload: Upload | None = None
        try:
            content = aiter(chunks)
            async for data in content:
                if len(head) + len(data) <= INLINE_SIZE:
                    head += data
                    continue
                upload = await self.push_blob_chunked(repository, algorithm=algorithm)
                await upload.write(head)
                await upload.write(data)
                await write_all(upload, content)
                break
            size = await upload.written() if upload else len(head)
            if descriptor.size not in (UNKNOWN_SIZE, size):
                raise OCIError("SIZE_INVALID", detail={"expected": descriptor.size, "received": size})
            if upload:
                return await upload.commit(descriptor.digest)
            found = digest_of(head, algorithm)
            if found != descriptor.digest:
                raise OCIError("DIGEST_INVALID", detail={"digest": descriptor.digest, "content": found})
            # One commit, and no upload that anybody could go on with.
            return await self.link(repository, found, size, upload=None, content=head)
        except BaseException:
            if upload:
                # The client is told why its push failed, and not that its rest could not be cleared away either.
                with contextlib.suppress(Exception):
                    await upload.cancel()
            raise

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> Upload:
        row = UploadRow(secrets.token_hex(16), algorithm, 0, b"")
        # Not synced: a power cut ends the uploads of its last moments, and nobody was promised otherwise.
        await self.take(writes.start_upload(repository, row.id, algorithm, int(time.time())), durable=False)
        self.remember(repository, row)
        return Upload(self, repository, row, 0)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> Upload:
        if not _HEXADECIMAL.issuperset(upload_id):
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        known = self._remembered.pop(upload_id, None)
        if (digest, offset) != (None, None) and known is not None and known[0] == repository:
            return Upload(self, repository, known[1], offset, remembered=True)
        return Upload(self, repository, await self.find_upload(repository, upload_id), offset)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        copy = await self.database.read(reads.copy_of(digest))
        if copy is not None and not self._is_whole(copy):
            raise OCIError("BLOB_UNKNOWN")
        linked = await self.take(writes.mount(from_repository, to_repository, digest, int(time.time())))
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
        descriptor, info = read_pushed(content, media_type, digest=digest, tags=tags, lax=self._lax)
        await self.take(
            manifests.push_manifest(
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
        now = int(time.time())
        await self.free(lambda: writes.delete_blob(repository, digest, immutable_tags=self._immutable_tags, now=now))

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self.free(lambda: manifests.delete_manifest(repository, digest, immutable_tags=self._immutable_tags))

    async def delete_tag(self, repository: str, tag: str) -> None:
        now = int(time.time())
        await self.free(lambda: manifests.delete_tag(repository, tag, immutable_tags=self._immutable_tags, now=now))

    async def delete_repository(self, repository: str) -> None:
        """Delete a repository and all that it holds, in one transaction: an extension, no request of the protocol.

        Collection frees the bytes that no other repository links.

        Raises:
            OCIError: NAME_UNKNOWN; DENIED if tags are immutable and it has any.
        """
        now = int(time.time())
        await self.free(lambda: writes.delete_repository(repository, immutable_tags=self._immutable_tags, now=now))

    # What takes room, and what makes room

    async def take(self, work: Work[Result], *, durable: bool = True) -> Result:
        """Write what takes room. Raises OCIError (507) while there is none."""
        self.room.check()
        return await self.database.write(self.room.admitted(work), durable=durable)

    async def drop_blobs(self, blobs: Mapping[str, Iterable[str]]) -> None:
        """Unlink blobs, and free the bytes of those that no other repository links, without waiting for collection.

        For callers that can get the contents again, as a cache can: neither `grace` nor immutable tags prevent it.
        Readers that have a blob open go on. A reader that has found a blob and not opened it yet gets BLOB_UNKNOWN.

        Args:
            blobs: by digest, the repositories to unlink it from. With none, only bytes that nothing links are freed.

        Raises:
            OCIError: the disk or the database fails.
        """
        keys = await self.free(lambda: writes.drop_blobs(blobs))
        # The transaction is synced first: after a power cut no row may name a file that is missing.
        await self.blobs.delete(keys)

    async def free(self, work: Callable[[], Work[Result]], *, durable: bool = True) -> Result:
        """`Upkeep.free`."""
        return await self.upkeep.free(work, durable=durable)

    # What uploads need of the store

    async def find_upload(self, repository: str, upload_id: str) -> UploadRow:
        """An upload as it is now. Asked for with each piece of a body, so that one that was ended takes no more."""
        key = (repository, upload_id, "upload")
        row: UploadRow | None = self._recent.get(key)
        if row is None:
            generation = self._recent.begin()
            row = await self.database.read(reads.find_upload(repository, upload_id))
            generation.put(key, row, row.state)
        return row

    def remember(self, repository: str, row: UploadRow) -> None:
        """Have the next request of an upload begin with what this one has recorded, and not ask the database."""
        self._remembered[row.id] = repository, row
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def forget(self, upload_id: str) -> None:
        """The opposite, for whoever goes on with it or ends it."""
        self._remembered.pop(upload_id, None)

    async def link(
        self, repository: str, digest: str, size: int, *, upload: UploadRow | None, content: bytes | None
    ) -> Descriptor:
        """Make verified and synced bytes a blob, and end their upload, if they came by one."""
        healthy = None
        if content is None:
            copy = await self.database.read(reads.copy_of(digest))
            healthy = copy.key if copy is not None and self._is_whole(copy) else None
        linked = await self.take(
            writes.finish_blob(
                repository, digest, size, upload=upload, content=content, healthy=healthy, now=int(time.time())
            )
        )
        try:
            await self.blobs.delete(linked.dropped)
        except (OSError, OCIError) as error:
            # The push has happened; collection finds the file again.
            _log.warning("a file that nothing needs could not be deleted: %s", error)
        return linked.descriptor

    async def discard(self, key: str) -> None:
        """Delete the file of an upload that has ended, unless it has become a blob by that."""
        if not await self.database.read(sweep.known_keys([key])):
            await self.blobs.delete([key])

    # Shared

    async def _find_blob(self, repository: str, digest: str) -> Link:
        key = (repository, digest, "blob")
        link: Link | None = self._recent.get(key)
        if link is None:
            generation = self._recent.begin()
            link = await self.database.read(reads.find_blob(repository, digest))
            generation.put(key, link, link.copy.content)
        return link

    def _check_complete(self) -> None:
        """An empty database would make collection delete every file: nothing would know them."""
        database = self.path / "registry.db"
        if not database.exists() and not self.blobs.is_empty() and not database.exists():
            raise StoreError(
                f"{database} is missing, but there are blobs beside it: put it back from a backup, or move "
                f"{self.path / 'blobs'} away and let clients push again"
            )

    async def _close(self) -> None:
        await self.upkeep.stop()
        await self.database.close()
        await self.blobs.close()

    def _is_whole(self, copy: Copy) -> bool:
        return not copy.bad and (copy.key is None or self.blobs.size(copy.key) == copy.size)

    def _is_due(self, renewed: int) -> bool:
        """Whether a HEAD has to renew what was renewed then."""
        return time.time() - renewed > self.renew_after_s

    async def _renew(self, renewal_work: Work[bool]) -> bool:
        """Renew a link or a manifest; False if it has gone meanwhile."""
        if self.unavailable:
            return True
        renewal = asyncio.ensure_future(self.database.write(renewal_work, durable=False))
        await asyncio.wait([renewal], timeout=RENEWAL_WAIT_S)
        if not renewal.done():
            renewal.add_done_callback(_log_failure)
            return True
        _log_failure(renewal)
        return renewal.exception() is not None or renewal.result()


def _check_digest(digest: str) -> None:
    if not is_digest(digest):
        raise OCIError("DIGEST_INVALID", "badly formed digest")


def _reason(error: OSError) -> str:
    known = of_disk(error)
    return str(error) if known is error else f"{error} ({known})"


def _log_failure(renewal: asyncio.Future[bool]) -> None:
    if not renewal.cancelled() and (error := renewal.exception()) is not None:
        _log.warning("what was asked for by HEAD could not be renewed: %s", error)
