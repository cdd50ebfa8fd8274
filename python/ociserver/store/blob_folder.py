"""`Blobs` in a folder of this machine, with its files and their locks."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractContextManager
from pathlib import Path

from ociserver._core import Hasher, hash_range
from ociserver.blob_io import BlobReader
from ociserver.interface import CHUNK_SIZE
from ociserver.store.blobs import Found, Status, UnreadableError
from ociserver.store.directory import FAN_OUT, Directory
from ociserver.store.hash_cache import HashCache
from ociserver.store.reader import FileReader
from ociserver.store.upload_file import RECORD_EVERY, UploadFile
from ociserver.values import Descriptor, Url

__all__ = ["BlobFolder"]


class BlobFolder:
    """A content is a file, which only one request at a time can lock for writing.

    Args:
        directory: the files.
        record_every: see `UploadFile`.
    """

    def __init__(self, directory: Directory, record_every: int = RECORD_EVERY) -> None:
        self.directory = directory
        self.record_every = record_every
        self.hashes = HashCache()
        """The hashes of uploads between two requests."""

    async def open(self) -> None:
        await self.directory.open()

    async def close(self) -> None:
        await self.hashes.close()
        await self.directory.close()

    @property
    def unavailable(self) -> None:
        return None

    async def read(self, key: str, descriptor: Descriptor, start: int, stop: int) -> BlobReader | None:
        fd = self.directory.open_file(key, descriptor.size)
        return None if fd is None else FileReader(self.directory, descriptor, fd, start, stop)

    async def locate(self, key: str, descriptor: Descriptor) -> Url | None:
        return None

    async def size(self, key: str) -> int | None:
        return self.directory.size(key)

    def seems_whole(self, key: str, size: int) -> bool:
        return self.directory.size(key) == size

    async def is_whole(self, key: str, size: int) -> bool:
        return self.directory.size(key) == size

    async def digest(self, key: str, size: int, algorithm: str) -> str | None:
        fd = self.directory.open_file(key, size)
        if fd is None:
            return None
        hasher = Hasher(algorithm)
        try:
            await self.directory.read(lambda: hash_range(fd, 0, size, hasher))
        except OSError as error:
            raise UnreadableError(str(error)) from error
        finally:
            os.close(fd)
        return hasher.digest()

    @property
    def chunk_size(self) -> int:
        return CHUNK_SIZE

    def upload_size(self, upload_id: str, recorded: int) -> int:
        # The file may have more than was recorded, or less after a power cut.
        return self.directory.size(upload_id) or 0

    def is_begun(self, upload_id: str) -> bool:
        return self.directory.size(upload_id) is not None

    async def hold(self, key: str, *, make: bool) -> UploadFile | None:
        fd = await self.directory.lock(key) if make else self.directory.lock_existing(key)
        return None if fd is None else UploadFile(self.directory, self.hashes, key, fd, record_every=self.record_every)

    def is_held(self, key: str) -> bool:
        return self.directory.is_held(key)

    def closed_to_writers(self, key: str) -> AbstractContextManager[Status | None]:
        return self.directory.closed_to_writers(key)

    @property
    def records(self) -> None:
        return None

    async def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            self.hashes.drop(key)
        await self.directory.delete(keys)

    async def scan(self, page_size: int) -> AsyncIterator[list[Found]]:
        found = self.directory.keys()
        while page := await self.directory.read(lambda: list(itertools.islice(found, page_size))):
            yield page

    @property
    def scan_steps(self) -> int:
        return FAN_OUT

    def is_empty(self) -> bool:
        return self.directory.is_empty()

    # For callers that know that the contents are files

    def path(self, key: str) -> Path:
        """`Directory.path`."""
        return self.directory.path(key)

    @property
    def syncs(self) -> bool:
        """`Directory.syncs`."""
        return self.directory.syncs
