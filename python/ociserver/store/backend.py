"""The durable backend: metadata in a database, large contents in files or in a bucket."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ociserver.errors import OCIError
from ociserver.interface import Descriptor, PushedManifest
from ociserver.manifests import read_pushed
from ociserver.meter import Figures, Meter
from ociserver.store import figures, manifests, reads, writes
from ociserver.store.api_keys import ApiKeys
from ociserver.store.blob_folder import BlobFolder
from ociserver.store.blobs import Blobs, ContentStorage
from ociserver.store.directory import Directory
from ociserver.store.disk_reserve import Reserve
from ociserver.store.errors import StoreError, is_full_below, of_disk
from ociserver.store.folder import BLOBS, DATABASE, IN_BUCKET, check_folder
from ociserver.store.modes import GROUP_READABLE, PRIVATE
from ociserver.store.opening import resume_upload, start_upload
from ociserver.store.pushing import push_blob
from ociserver.store.reading import Reading
from ociserver.store.reads import BLOB_TYPE
from ociserver.store.room import DiskRoom, EndlessRoom, Room
from ociserver.store.sqlite import Durability, SQLite
from ociserver.store.transaction import Metadata, Transaction
from ociserver.store.upkeep import Upkeep
from ociserver.store.upload import Upload
from ociserver.store.uploads import Uploads

__all__ = ["Store"]

Result = TypeVar("Result")

RENEW_AFTER_S: Final = 3600
"""Default of `renew_after_s`. It is one hour of the 24 that `Policy.unreferenced_after_s` has by default."""


class Store(Reading, reads_nowait=True):
    """A registry in one folder: SQLite and files. Any number of processes may use the folder at the same time.

    The metadata may be in PostgreSQL instead, and large contents in a bucket. With both, there is no folder, and any
    number of nodes may use the registry at the same time.

    Args:
        path: the folder, which is created if it does not exist. A folder that holds anything else, for example the data
            of another registry, is refused. None: there is no folder, because `database` and `objects` are given.
        immutable_tags: a tag keeps its manifest, and nothing that a tag reaches can be deleted: DENIED.
        lax_child_references: accept manifests whose blobs or child manifests do not exist.
        durability: how much of what was acknowledged a power cut may destroy. `full`: nothing. `normal`: the last
            moments. `off`: anything. If only the process is killed, nothing is lost with any of them.
        renew_after_s: a HEAD renews a blob or a manifest at most this often, in seconds, so that not each HEAD writes.
            After a HEAD, a client can rely on the content for the time of the collection's policy, minus this.
        group_readable: the group of the files may read them (modes 0750 and 0640). Without it, only their user may.
            Existing files keep their modes.
        meter: is told of commits, for metrics.
        database: has the metadata, instead of a database in the folder.
        objects: keeps large contents, instead of files in the folder.

    Raises:
        ValueError: there is no folder, and no database or no bucket.
        StoreError: when the store is opened, if the folder cannot be used. The message says what to do.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        immutable_tags: bool = False,
        lax_child_references: bool = False,
        durability: Durability = "full",
        renew_after_s: float = RENEW_AFTER_S,
        group_readable: bool = False,
        meter: Meter | None = None,
        database: Metadata | None = None,
        objects: ContentStorage | None = None,
    ) -> None:
        if path is None and (database is None or objects is None):
            raise ValueError("a store without a folder needs both a database and a bucket")
        self._path = None if path is None else Path(path)
        self.modes = GROUP_READABLE if group_readable else PRIVATE
        self._immutable_tags = immutable_tags
        self._lax = lax_child_references
        self.has_own_database: Final = database is None
        """Whether the database is in the folder."""
        database = database or SQLite(self.path / DATABASE, durability, self.modes, meter=meter)
        self._blob_folder: BlobFolder | None = None
        if objects is None:
            directory = Directory(self.path / BLOBS, sync=durability != "off", settle=database.settle, modes=self.modes)
            self._blob_folder = BlobFolder(directory)
            blobs: Blobs = self._blob_folder
        else:
            blobs = objects.blobs(database)
        super().__init__(database, blobs, renew_after_s)
        if path is None:
            self.room: Room = EndlessRoom()
        else:
            self.room = DiskRoom(self.path, Reserve(self.path / "registry.reserve", self.modes), database.owed)
        self.upkeep = Upkeep(database, self.room)
        self.uploads = Uploads(self.database, self.blobs, self.room, self.upkeep)
        self.api_keys = ApiKeys(self.database, self.upkeep, self._read_cache)
        self._opening = asyncio.Lock()
        self._openings = 0

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            StoreError: there is none.
        """
        if self._path is None:
            raise StoreError("this registry has no folder: it is in a database and a bucket")
        return self._path

    @property
    def has_folder(self) -> bool:
        """Whether it has a folder. It has none if a database and a bucket have everything."""
        return self._path is not None

    @property
    def has_files(self) -> bool:
        """Whether large contents are files in the folder. If not, they are in a bucket."""
        return self._blob_folder is not None

    @property
    def name(self) -> str:
        """The store in messages for people."""
        return "the registry" if self._path is None else str(self._path)

    @property
    def blob_folder(self) -> BlobFolder:
        """`blobs`, for what needs their files.

        Raises:
            StoreError: the contents are in a bucket.
        """
        if self._blob_folder is None:
            raise StoreError("the contents of this registry are in a bucket, and not in files")
        return self._blob_folder

    async def __aenter__(self) -> Self:
        # Several handlers may share a store, and the owner of a store may have opened it before a handler does.
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
            if self._path is not None:
                check_folder(self._path)
                self.modes.make_folder(self._path)
                self._check_where_contents_are(self._path)
            if self.has_own_database and self._blob_folder is not None:
                self._check_complete(self._blob_folder)
            while not await self._try_to_open():
                # The disk is full. Each try has given up a slice of the reserve.
                pass
        except OSError as error:
            await self._close()
            raise StoreError(f"{self.name} cannot be used: {_reason(error)}") from error
        except BaseException:
            await self._close()
            raise

    async def _try_to_open(self) -> bool:
        """Open all parts. False if the disk was full, and a slice of the reserve was given up for the next try."""
        try:
            await self.database.open()
            await self.blobs.open()
        except (OSError, StoreError) as error:
            if not is_full_below(error) or not self.room.give_slice():
                raise
            await self._close()
            return False
        self.upkeep.start()
        return True

    def figures(self) -> Figures:
        """What the store holds. Any thread may call it, and the store need not be open.

        Raises:
            StoreError: the database cannot be read, or does not exist yet.
        """
        return self.database.read_apart(figures.figures())

    # Writer

    async def push_blob(self, repository: str, descriptor: Descriptor, chunks: AsyncIterable[bytes]) -> Descriptor:
        return await push_blob(self.uploads, repository, descriptor, chunks)

    async def push_blob_chunked(self, repository: str, *, chunk_size: int = 0, algorithm: str = "sha256") -> Upload:
        return await start_upload(self.uploads, repository, algorithm)

    async def push_blob_chunked_resume(
        self, repository: str, upload_id: str, *, offset: int | None, digest: str | None = None
    ) -> Upload:
        # A request with neither may only ask how far the upload is.
        is_writer = offset is not None or digest is not None
        return await resume_upload(self.uploads, repository, upload_id, offset, is_writer=is_writer)

    async def mount_blob(self, from_repository: str | None, to_repository: str, digest: str) -> Descriptor:
        if from_repository is None:
            copy = await self.database.read(reads.copy_of(digest))
        else:
            # Only what the source has: the time must not tell what others have. And a mount that fails writes nothing.
            copy = (await self.database.read(reads.find_blob(from_repository, digest))).copy
        if copy is not None and not self._is_whole(copy):
            raise OCIError("BLOB_UNKNOWN")
        now = self._now()
        size = await self.upkeep.take(lambda: writes.mount(from_repository, to_repository, digest, now))
        return Descriptor(BLOB_TYPE, digest, size)

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
        descriptor, info = read_pushed(content, media_type, digest=digest, tags=tags, lax=self._lax)
        await self.upkeep.take(
            partial(
                manifests.push_manifest,
                repository,
                descriptor,
                content,
                info,
                tags,
                create_only,
                immutable_tags=self._immutable_tags,
                lax=self._lax,
                now=self._now(),
            )
        )
        return PushedManifest(descriptor, tuple(tags), info.subject)

    # Deleter

    async def delete_blob(self, repository: str, digest: str) -> None:
        now = self._now()
        await self.free(lambda: writes.delete_blob(repository, digest, immutable_tags=self._immutable_tags, now=now))

    async def delete_manifest(self, repository: str, digest: str) -> None:
        await self.free(lambda: manifests.delete_manifest(repository, digest, immutable_tags=self._immutable_tags))

    async def delete_tag(self, repository: str, tag: str) -> None:
        now = self._now()
        await self.free(lambda: manifests.delete_tag(repository, tag, immutable_tags=self._immutable_tags, now=now))

    async def delete_repository(self, repository: str) -> None:
        """Delete a repository and all that it holds, in one transaction. The protocol has no request for this.

        Collection frees the bytes that no other repository links.

        Raises:
            OCIError: NAME_UNKNOWN; DENIED if tags are immutable and the repository has a tag.
        """
        now = self._now()
        await self.free(lambda: writes.delete_repository(repository, immutable_tags=self._immutable_tags, now=now))

    # Transactions that free space

    async def drop_blobs(self, blobs: Mapping[str, Iterable[str]]) -> None:
        """Unlink blobs, and free the bytes of those that no other repository links, without waiting for collection.

        This is for callers that can fetch the contents again, such as a cache: neither the grace period nor immutable
        tags prevent it. A reader that has a blob open continues. A reader that has found a blob but not opened it yet
        gets BLOB_UNKNOWN.

        Args:
            blobs: by digest, the repositories to unlink the blob from. Without repositories, the bytes are freed only
                if no repository links them.

        Raises:
            OCIError: the disk or the database fails.
        """
        wanted = {digest: list(repositories) for digest, repositories in blobs.items()}
        now, is_recorded = self._now(), self.blobs.records is not None
        keys = await self.free(lambda: writes.drop_blobs(wanted, is_recorded=is_recorded, now=now))
        # The transaction is synced before the files are deleted: after a power cut no row may name a missing file.
        await self.blobs.delete(keys)

    async def free(self, make: Callable[[], Transaction[Result]], *, durable: bool = True) -> Result:
        """`Upkeep.free`."""
        try:
            return await self.upkeep.free(make, durable=durable)
        finally:  # also after an error: it may have been committed
            self._recent_manifests.clear()
            self.uploads.forget_all()

    # Shared

    def _check_complete(self, blobs: BlobFolder) -> None:
        """Refuse a folder with blobs but without a database: a new database would make collection delete every file."""
        database = self.path / DATABASE
        # Looked at twice: another process may create both between the first look and the second.
        if not database.exists() and not blobs.is_empty() and not database.exists():
            raise StoreError(
                f"{database} is missing, but there are blobs beside it: restore it from a backup, or move "
                f"{self.path / BLOBS} away and let clients push again"
            )

    def _check_where_contents_are(self, folder: Path) -> None:
        """Refuse a bucket if the contents are in files, and the reverse: all of them would seem to be lost."""
        marker = folder / IN_BUCKET
        if self._blob_folder is not None:
            if marker.exists():
                raise StoreError(
                    f"the large contents of {folder} are in a bucket: use the configuration file that names it, with "
                    "--config"
                )
        elif not marker.exists():
            if (folder / BLOBS).exists():
                raise StoreError(
                    f"the large contents of {folder} are in files, and not in a bucket: copy them to a new store with "
                    "`ociserver copy --all`, or remove `objects` from the configuration"
                )
            marker.touch(self.modes.file)

    def _now(self) -> int:
        return int(self.database.now())

    async def _close(self) -> None:
        await self.upkeep.stop()
        # Uploads that end only now still need the database.
        await self.blobs.close()
        await self.database.close()


def _reason(error: OSError) -> str:
    known = of_disk(error)
    return str(error) if known is error else f"{error} ({known})"
