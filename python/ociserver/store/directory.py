"""Blobs as files in a folder: one file for each copy, named by its key, written once and never renamed.

The file of an upload becomes the file of the blob. So a commit moves no file, and a new name needs only one sync of its
folder. A name says nothing about the content: only the metadata knows what a file is.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from ociserver._core import Appender
from ociserver.backlog import wait_until_called
from ociserver.errors import OCIError
from ociserver.store.blobs import Found, HeldError, Status
from ociserver.store.disk import boot_id, sync_folders_above
from ociserver.store.errors import of_disk
from ociserver.store.failpoint import reach
from ociserver.store.modes import PRIVATE, Modes

__all__ = ["FAN_OUT", "Directory"]

Result = TypeVar("Result")

WRITERS: Final = 16
"""Threads for work that may wait for the disk, such as syncs. Appends to files have other threads."""

READERS: Final = 16
"""Threads that only read. They are separate, so that no read waits behind the syncs of a slow disk."""

FAN_OUT: Final = 256
"""The number of folders. Each is named by the first two digits of the keys of its files."""


class Directory:
    """The files that hold the contents of a store, with the threads that use them.

    Args:
        root: a folder that nothing else uses.
        sync: whether finished files must survive a power cut.
        settle: called before files are deleted. It makes the commits that no longer name them survive a power cut.
        modes: permissions of the folders and files.
    """

    def __init__(
        self,
        root: Path,
        *,
        sync: bool = True,
        settle: Callable[[], None] = lambda: None,
        modes: Modes = PRIVATE,
    ) -> None:
        self._root = root
        self._modes = modes
        self._prefix = str(root)
        self._sync = sync
        self._settle = settle
        self._writers: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None
        self._boot = boot_id()
        self._closing: set[Appender] = set()
        self.readers = 0
        """Files being read."""
        self.writers = 0
        """Files being written."""

    async def open(self) -> None:
        """Create all folders now, so that a new file later needs only a sync of its own folder."""

        def make() -> None:
            self._modes.make_folder(self._root)
            for number in range(FAN_OUT):
                self._modes.make_folder(self._root / f"{number:02x}")
            reach("folders made")
            if self._sync:
                sync_folders_above(self._root)

        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="ociserver-disk")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="ociserver-read")
        await self.run(make)

    async def close(self) -> None:
        """Wait for the threads that write and read."""
        for appender in self._closing.copy():
            await wait_until_called(appender.when_written)
        pools = [pool for pool in (self._writers, self._readers) if pool]
        self._writers = self._readers = None
        for pool in pools:
            await asyncio.to_thread(pool.shutdown)

    def close_when_written(self, fd: int, appender: Appender) -> None:
        """Close a file, which releases its lock, when its appender has finished the write that is under way."""
        self._closing.add(appender)

        def close() -> None:
            os.close(fd)
            self._closing.discard(appender)

        appender.when_written(close)

    def run(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """Run a function that may wait for the disk in a thread."""
        return asyncio.get_running_loop().run_in_executor(_opened(self._writers), function)

    def read(self, function: Callable[[], Result]) -> asyncio.Future[Result]:
        """Run a function that only reads in one of the threads for reads."""
        return asyncio.get_running_loop().run_in_executor(_opened(self._readers), function)

    def path(self, key: str) -> Path:
        """The path of the file of a key. A key has only hexadecimal digits: check a key that comes from a client."""
        return Path(self._name(key))

    def _name(self, key: str) -> str:
        # Not with `Path`, which needs 4 microseconds to join a path: each chunk of an upload needs two paths.
        return f"{self._prefix}/{key[:2]}/{key}"

    async def lock(self, key: str) -> int:
        """Open the file of an upload for writing, with its lock; make the file if it does not exist.

        The lock ends with the descriptor, or with the process.

        Raises:
            OCIError: RANGE_INVALID while another request, in any process, has the lock; 503 or 507 for an error of the
                file system.
        """
        try:
            fd = self.lock_existing(key)
            return await self._make(self._name(key)) if fd is None else fd
        except OSError as error:
            raise of_disk(error) from None

    def lock_existing(self, key: str) -> int | None:
        """Open the file of an upload for writing, with its lock; None if there is no file.

        Raises:
            OCIError: RANGE_INVALID while another request, in any process, has the lock; 503 or 507 for an error of the
                file system.
        """
        try:
            return _locked(self._name(key), 0, 0)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise of_disk(error) from None

    async def _make(self, path: str) -> int:
        """Create a file and lock it, in a thread, because this may wait for the disk."""
        locking = self.run(lambda: _locked(path, os.O_CREAT, self._modes.file))
        try:
            return await asyncio.shield(locking)
        except asyncio.CancelledError:
            # Nobody else would close the descriptor, and its lock would refuse every later writer.
            locking.add_done_callback(_close_late)
            # The caller deletes the file next, and the thread must not create it after that.
            await asyncio.wait([locking])
            raise

    def is_held(self, key: str) -> bool:
        """Whether a process is writing to the file of an upload."""
        try:
            with self.closed_to_writers(key):
                return False
        except HeldError:
            return True

    @contextlib.contextmanager
    def closed_to_writers(self, key: str) -> Iterator[Status | None]:
        """Keep every process from writing to the file of an upload. Yields its status; None if there is no file.

        Raises:
            HeldError: a process is writing to it.
        """
        try:
            fd = os.open(self._name(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            # A shared lock keeps out writers, but not other calls of this method.
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HeldError from None
            there = os.fstat(fd)
            yield Status(there.st_size, there.st_mtime)
        finally:
            os.close(fd)

    def size(self, key: str) -> int | None:
        """Bytes of a file; None if it does not exist. Raises OCIError (5xx) if the file system fails."""
        try:
            return os.stat(self._name(key)).st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise of_disk(error) from None

    def open_file(self, key: str, size: int) -> int | None:
        """Open a copy for reading; None if the file is missing or has another size."""
        try:
            fd = os.open(self._name(key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise of_disk(error) from None
        if os.fstat(fd).st_size != size:
            os.close(fd)
            return None
        return fd

    async def delete(self, keys: Collection[str]) -> None:
        """Delete files. A file that does not exist counts as deleted."""
        paths = [self.path(key) for key in keys]
        if paths:

            def unlink() -> None:
                self._settle()
                for path in paths:
                    reach("before unlink")
                    path.unlink(missing_ok=True)
                    reach("after unlink")

            try:
                await self.run(unlink)
            except OSError as error:
                raise of_disk(error) from None

    def keys(self) -> Iterator[Found]:
        """All files, folder by folder, which are the steps. This blocks, so call it in a thread."""
        for number in range(FAN_OUT):
            with os.scandir(self._root / f"{number:02x}") as entries:
                for entry in entries:
                    if not entry.name.startswith(f"{number:02x}"):
                        continue  # not a key: another program has written this file
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue
                    yield Found(number, entry.name, status.st_size)

    def is_empty(self) -> bool:
        """Whether there is no file at all."""
        folders = (self._root / f"{number:02x}" for number in range(FAN_OUT))
        return not any(folder.is_dir() and any(folder.iterdir()) for folder in folders)

    @property
    def boot(self) -> bytes:
        """The id of the current boot of the machine. Within one boot, a file has what was written to it."""
        return self._boot

    @property
    def syncs(self) -> bool:
        """Whether finished files are synced."""
        return self._sync


def _opened(pool: ThreadPoolExecutor | None) -> ThreadPoolExecutor:
    if pool is None:
        raise RuntimeError("the store is not open")
    return pool


def _locked(path: str, flags: int, mode: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, mode)
    reach("file opened")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise OCIError("RANGE_INVALID", "another request is writing to this upload") from None
    except OSError:
        os.close(fd)
        raise
    return fd


def _close_late(locking: asyncio.Future[int]) -> None:
    if not locking.cancelled() and locking.exception() is None:
        os.close(locking.result())
