"""Blobs as files in a folder: one file a copy, named by its key, written once and never renamed.

The file of an upload is the file of the blob that it becomes. So nothing moves at commit, a new file's
name needs one sync of its folder, and there is no moment in which a name says too much: what a file is
only the metadata knows.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from ociserver._core import Hasher, append_to, hash_range
from ociserver.errors import OCIError
from ociserver.store.sqlite import disk_full

__all__ = ["Directory", "FileWriter", "Found"]

Result = TypeVar("Result")

THREADS: Final = 16
"""Threads for what may wait for the disk. Hashing needs one a core; the others wait for syncs."""

_FAN_OUT: Final = 256


@dataclass(frozen=True, slots=True)
class Found:
    """A file in the folder, as a scan meets it."""

    key: str
    size: int
    modified: float


class Directory:
    """The blob part of a store, on a file system.

    Args:
        root: a folder of its own.
        sync: whether what is finished must survive a power cut.
    """

    def __init__(self, root: Path, *, sync: bool = True) -> None:
        self._root = root
        self._sync = sync
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ociserver-disk")
        self._boot = _boot_id()

    async def open(self) -> None:
        """Make the folders, once, so that later a new file needs a sync of its own folder only."""

        def make() -> None:
            self._root.mkdir(parents=True, exist_ok=True)
            for number in range(_FAN_OUT):
                (self._root / f"{number:02x}").mkdir(exist_ok=True)
            if self._sync:
                _sync_folder(self._root)
                _sync_folder(self._root.parent)

        await self.run(make)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._threads.shutdown)

    async def run(self, function: Callable[[], Result]) -> Result:
        """Run what may wait for the disk off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def path(self, key: str) -> Path:
        """Where the file of a key is. Keys are made here, of hexadecimal digits; none comes from a client unchecked."""
        return self._root / key[:2] / key

    async def hold(self, key: str, algorithm: str) -> FileWriter:
        """Take hold of the file of an upload, made if it is not there; call `restore` next.

        Raises:
            OCIError: RANGE_INVALID while another request, in any process, is writing to it.
        """

        def lock() -> int:
            fd = os.open(self.path(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                raise
            return fd

        try:
            fd = await self.run(lock)
        except BlockingIOError:
            raise OCIError("RANGE_INVALID", "another request is writing to this upload") from None
        except OSError as error:
            raise _translated(error) from error
        return FileWriter(self, key, fd, Hasher(algorithm))

    def size(self, key: str) -> int | None:
        """Bytes of a file; None if it is not there."""
        try:
            return os.stat(self.path(key)).st_size
        except OSError:
            return None

    def open_file(self, key: str, size: int) -> int | None:
        """Open a copy for reading; None if it is missing or of another size."""
        try:
            fd = os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        if os.fstat(fd).st_size != size:
            os.close(fd)
            return None
        return fd

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete files; one that is not there is deleted already."""
        paths = [self.path(key) for key in keys]
        if paths:

            def unlink() -> None:
                for path in paths:
                    path.unlink(missing_ok=True)

            await self.run(unlink)

    def keys(self) -> Iterator[Found]:
        """Every file there is, in no order. Blocks: for a thread of its own."""
        for number in range(_FAN_OUT):
            with os.scandir(self._root / f"{number:02x}") as entries:
                for entry in entries:
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue
                    yield Found(entry.name, status.st_size, status.st_mtime)

    @property
    def boot(self) -> bytes:
        """Names the time since the machine was started: within it, what was written is what is read."""
        return self._boot

    @property
    def syncs(self) -> bool:
        """Whether finished files are synced."""
        return self._sync


class FileWriter:
    """An open file that grows, its hash with it. The lock on it ends with the descriptor, or the process."""

    def __init__(self, directory: Directory, key: str, fd: int, hasher: Hasher) -> None:
        self._directory = directory
        self._key = key
        self._fd = fd
        self._hasher: Hasher | None = hasher
        self._algorithm = hasher.algorithm
        self._under_way: asyncio.Future[None] | None = None
        self.size = 0

    async def restore(self, size: int, state: bytes) -> None:
        """Go on from what was recorded: without reading the file if this boot wrote it, else by hashing it again.

        After a power cut the file may be shorter than was recorded, or hold other bytes: the new hash
        then tells at commit. What is behind the recorded end was never acknowledged, and goes.
        """
        boot, saved = state[:_BOOT], state[_BOOT:]

        def restore() -> tuple[int, Hasher]:
            there = min(size, os.fstat(self._fd).st_size)
            os.ftruncate(self._fd, there)
            if there == size and boot == self._directory.boot and boot != _NO_BOOT:
                return there, Hasher.resume(saved)
            hasher = Hasher(self._algorithm)
            hash_range(self._fd, 0, there, hasher)
            return there, hasher

        self.size, self._hasher = await self._directory.run(restore)

    async def write(self, data: bytes) -> None:
        """Append bytes. On a full disk nothing of them is kept, and the upload can go on later."""
        hasher = self._hasher or await self._rehash()
        fd, size = self._fd, self.size

        def append() -> None:
            append_to(fd, size, data, hasher)

        try:
            await self._do(append)
        except OSError as error:
            self._hasher = None
            raise _translated(error) from error
        except asyncio.CancelledError:
            self._hasher = None
            raise
        self.size += len(data)

    def suspend(self) -> bytes:
        """The state to go on from, for `restore`."""
        if self._hasher is None or self._hasher.length != self.size:
            return _NO_BOOT
        return self._directory.boot + self._hasher.save()

    async def digest(self, algorithm: str) -> str:
        """Digest of everything in the file; another algorithm than the upload's costs a second reading."""
        hasher = self._hasher
        if hasher is None or hasher.length != self.size or hasher.algorithm != algorithm:
            hasher = await self._rehash(algorithm)
        return hasher.digest()

    async def finish(self) -> None:
        """Make the file and its name survive a power cut."""
        fd, folder = self._fd, self._directory.path(self._key).parent

        def sync() -> None:
            os.fsync(fd)
            _sync_folder(folder)

        if self._directory.syncs:
            try:
                await self._do(sync)
            except OSError as error:
                raise _translated(error) from error

    def close(self) -> None:
        """Let go of the file and of the lock, as soon as no thread uses them."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._under_way is None or self._under_way.done():
            os.close(fd)
        else:
            self._under_way.add_done_callback(lambda _: os.close(fd))

    async def _do(self, function: Callable[[], None]) -> None:
        # Shielded: a thread cannot be stopped when its request is, and its descriptor must outlive it.
        self._under_way = asyncio.ensure_future(self._directory.run(function))
        await asyncio.shield(self._under_way)

    async def _rehash(self, algorithm: str | None = None) -> Hasher:
        hasher = Hasher(algorithm or self._algorithm)
        fd, size = self._fd, self.size
        await self._directory.run(lambda: hash_range(fd, 0, size, hasher))
        if hasher.algorithm == self._algorithm:
            self._hasher = hasher
        return hasher


_BOOT: Final = 16
_NO_BOOT: Final = bytes(_BOOT)


def _boot_id() -> bytes:
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.strip().replace("-", ""))
    except (OSError, ValueError):
        return _NO_BOOT  # unknown here: every resumed upload is hashed again


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _translated(error: OSError) -> Exception:
    return disk_full() if error.errno in (errno.ENOSPC, errno.EDQUOT) else error
