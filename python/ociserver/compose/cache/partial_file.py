"""The growing file of a download: the file of a store's upload, or a spool."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Final, Protocol

from ociserver._core import Appender, BackgroundHasher, read_at, read_cached
from ociserver.backlog import wait_until_below, wait_until_called
from ociserver.cancellation import finish
from ociserver.compose.cache.upstream import wrong_content
from ociserver.errors import OCIError
from ociserver.interface import BlobWriter
from ociserver.store.blob_folder import BlobFolder
from ociserver.store.errors import of_disk

__all__ = ["GrowingFile", "PartialFile", "Spool", "SpooledUpload", "StoreUpload"]

MOST: Final = 1024 * 1024
"""High-water mark in bytes of what is not yet in a spool. Above it, the writer waits until half of it is left."""


class GrowingFile:
    """An open file that this process or another one appends to."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._reading = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path) -> GrowingFile | None:
        """None if the file does not exist yet, or does not exist any more."""
        try:
            return cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            return None

    def size(self) -> int:
        """Bytes in the file. They are appended in order."""
        return os.fstat(self._fd).st_size

    async def read(self, at: int, size: int) -> bytes:
        """Up to `size` bytes from `at` on; empty at the end of the file."""
        # Bytes that were just written are in the page cache, so this needs no thread.
        data = read_cached(self._fd, at, size)
        if data is not None:
            return data
        self._reading += 1
        try:
            # A cancelled request cannot stop the thread.
            return await finish(asyncio.get_running_loop().run_in_executor(None, read_at, self._fd, at, size))
        finally:
            self._reading -= 1
            self._close_if_unused()

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and not self._reading and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PartialFile(Protocol):
    """The file that a download writes."""

    @property
    def upload(self) -> str:
        """The id of the upload that this file belongs to; empty for a spool."""

    def growing(self) -> GrowingFile | None:
        """The file to read from, once, as soon as it exists; else None."""

    async def write(self, data: bytes) -> None:
        """Append bytes."""

    async def finish(self, digest: str) -> None:
        """Verify the digest. Make the bytes a blob, unless this is only a spool.

        Raises:
            OCIError: DIGEST_INVALID with status 502.
        """

    async def discard(self) -> None:
        """Delete the file, unless it has become a blob. Readers that have it open can continue."""


class StoreUpload:
    """An upload of a store with files. Other processes can read its file, too.

    Args:
        folder: has the file.
        writer: writes to it.
    """

    def __init__(self, folder: BlobFolder, writer: BlobWriter) -> None:
        self._path = folder.path(writer.id)
        self._writer = writer
        self._given = False

    @property
    def upload(self) -> str:
        return self._writer.id

    def growing(self) -> GrowingFile | None:
        # A store keeps the first bytes of an upload in memory.
        file = None if self._given else GrowingFile.open(self._path)
        self._given = self._given or file is not None
        return file

    async def write(self, data: bytes) -> None:
        await self._writer.write(data)

    async def finish(self, digest: str) -> None:
        await _commit(self._writer, digest)

    async def discard(self) -> None:
        await self._writer.cancel()


class Spool:
    """A file that only the readers of a download use. Threads without Python write and hash it.

    Args:
        path: of the file, for other processes; None for a file without a name.
        fd: of the file, which is empty.
        algorithm: of the expected digest.
    """

    upload = ""

    def __init__(self, path: Path | None, fd: int, algorithm: str) -> None:
        self._path = path
        self._fd = fd
        self._hash = BackgroundHasher(algorithm)
        self._appender = Appender(self._fd, 0, self._hash, False)  # noqa: FBT003 - positional in Rust
        self._given = False

    @classmethod
    async def make(cls, path: Path | None, algorithm: str) -> Spool:
        """Create the file, and a spool with it."""
        try:
            return cls(path, await asyncio.to_thread(_made, path), algorithm)
        except OSError as error:
            raise of_disk(error) from None

    def growing(self) -> GrowingFile | None:
        if self._given:
            return None
        self._given = True
        return GrowingFile(os.dup(self._fd))

    async def write(self, data: bytes) -> None:
        left = self._appender.add(data)
        if left is None:
            await wait_until_called(self._appender.when_written)
        elif left > MOST:
            await wait_until_below(self._appender, MOST // 2)
        self._check()

    async def written(self) -> None:
        """Wait until all bytes are in the file."""
        await wait_until_called(self._appender.when_written)
        self._check()

    async def finish(self, digest: str) -> None:
        await self.written()
        await wait_until_below(self._hash, 0)
        if self._hash.digest() != digest:
            raise wrong_content(digest)

    async def discard(self) -> None:
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        self._appender.close()
        self._hash.close()
        await wait_until_called(self._appender.when_written)

        def delete() -> None:
            os.close(fd)
            if self._path is not None:
                self._path.unlink(missing_ok=True)

        await asyncio.to_thread(delete)

    def _check(self) -> None:
        try:
            self._appender.check()
        except OSError as error:
            raise of_disk(error) from None


class SpooledUpload:
    """An upload of a registry that has no file to read from, with a spool for that.

    Args:
        writer: writes to the upload.
        spool: gets the same bytes.
    """

    def __init__(self, writer: BlobWriter, spool: Spool) -> None:
        self._writer = writer
        self._spool = spool

    @property
    def upload(self) -> str:
        return self._writer.id

    def growing(self) -> GrowingFile | None:
        return self._spool.growing()

    async def write(self, data: bytes) -> None:
        await self._writer.write(data)
        await self._spool.write(data)

    async def finish(self, digest: str) -> None:
        await self._spool.written()
        await _commit(self._writer, digest)
        await self._spool.discard()

    async def discard(self) -> None:
        try:
            await self._writer.cancel()
        finally:
            await self._spool.discard()


async def _commit(writer: BlobWriter, digest: str) -> None:
    try:
        await writer.commit(digest)
    except OCIError as error:
        if error.code != "DIGEST_INVALID":
            raise
        raise wrong_content(digest) from None


def _made(path: Path | None) -> int:
    if path is None:
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())
    # Other processes may still read the file of a killed process. So create a new file instead of changing it.
    path.unlink(missing_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
