"""Locks between worker processes: one file each. The kernel releases the lock when its process dies.

The holder of a lock may write a note into the file, for the processes that wait. No process polls the file. The holder
has an exclusive lock until it has written the note, and a shared lock from then on. A process that waits requests a
shared lock in a thread, and gets it when the note is there. Then it requests an exclusive lock, and gets it when the
holder has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

from ociserver._core import digest_of
from ociserver.backlog import call_threadsafe
from ociserver.cancellation import finish
from ociserver.compose.cache.local import Folder

__all__ = ["Followed", "Lock", "Locks"]

Result = TypeVar("Result")

NOTE_SIZE: Final = 2048
"""Bytes of a note. One call writes it, padded to this length, so that readers never see a part of a note."""

THREADS: Final = 4
"""Threads that create and delete lock files, which may wait for the disk."""


HOLD_S: Final = 30.0
"""Seconds for which a caller waits for another process that does the same work. The lock only saves a second request to
upstream. So if the other process hangs, the caller does the work itself."""


class Followed:
    """A lock that another process holds. Its note is there."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def note(self) -> bytes:
        """The newest note."""
        return os.pread(self._fd, NOTE_SIZE, 0).rstrip()

    async def ended(self) -> None:
        """Wait until the holder has released the lock, or was killed."""
        # The thread may outlive the caller, so it gets a descriptor of its own, which shares the lock.
        own = os.dup(self._fd)
        await _in_thread(lambda: _flock(own, fcntl.LOCK_EX), os.close)
        os.close(own)

    def close(self) -> None:
        """Close the file, which releases the shared lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Lock:
    """The lock of one name. Without a folder, no other process can hold it.

    Args:
        folder: has its file.
        name: of the file.
        pool: runs calls that may wait for the disk.
    """

    def __init__(self, folder: Folder | None, name: str = "", pool: ThreadPoolExecutor | None = None) -> None:
        self._folder = folder
        self._path = None if folder is None else folder.path / name
        self._pool = pool
        self._fd = -1
        self.left = b""
        """The note that a killed holder has left. Known while this lock is held."""

    @property
    def spool(self) -> Path | None:
        """A file that belongs to the holder of the lock."""
        return None if self._path is None else self._path.with_suffix(".part")

    async def try_hold(self) -> bool:
        """Take the lock if it is free."""
        if self._path is None:
            return True
        path, pool, folder = self._path, self._pool, self._folder
        assert pool
        assert folder
        taking = asyncio.get_running_loop().run_in_executor(pool, lambda: _taken(path, folder))
        return self._is_held_by(await finish(taking, _close_all))

    async def hold(self) -> None:
        """Take the lock. Wait while another process holds it."""
        while not await self.try_hold():
            path = self._path
            assert path
            await self._wait(path)

    async def follow(self) -> Followed | None:
        """Wait for the holder's note. None if the holder ended, or was killed, before it wrote one."""
        path = self._path
        assert path
        try:
            fd = await _in_thread(lambda: _opened(path, os.O_RDWR, fcntl.LOCK_SH), os.close)
        except FileNotFoundError:
            return None
        # The shared lock is not needed any more. It would block processes that wait for the end.
        _flock(fd, fcntl.LOCK_UN)
        followed = Followed(fd)
        if _names(path, fd) and followed.note():
            return followed
        followed.close()
        return None

    def share(self, note: bytes) -> None:
        """Write the note, and let the waiting processes read it."""
        if self._fd >= 0:
            self.tell(note)
            # On Linux no process can take the lock in between. Elsewhere one may, and fetches the blob a second time.
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def tell(self, note: bytes) -> None:
        """Replace the note."""
        if self._fd >= 0:
            assert len(note) <= NOTE_SIZE
            os.pwrite(self._fd, note.ljust(NOTE_SIZE), 0)

    def release(self) -> None:
        """Release the lock and delete its file."""
        if self._fd >= 0:
            fd, path, self._fd, self.left = self._fd, self._path, -1, b""
            assert path
            assert self._pool
            self._pool.submit(_release, path, fd)

    async def _wait(self, path: Path) -> None:
        """Wait until the holder releases the lock. Another process may take it before the caller does."""
        with contextlib.suppress(FileNotFoundError):
            os.close(await _in_thread(lambda: _opened(path, os.O_RDWR, fcntl.LOCK_EX), os.close))

    def _is_held_by(self, taken: tuple[int, bytes] | None) -> bool:
        if taken is None:
            return False
        self._fd, self.left = taken
        return True


class Locks:
    """The locks of a folder.

    Args:
        folder: shared by the processes; None if there is only this process.
    """

    def __init__(self, folder: Folder | None) -> None:
        self._folder = folder
        self._pool: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Create the folder."""
        if self._folder is not None:
            self._folder.make()
            self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ociserver-cache")

    async def close(self) -> None:
        """Wait until the files of released locks are deleted."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown)

    def lock(self, *names: str) -> Lock:
        """The lock of a name. The name may contain any characters."""
        if self._folder is None:
            return Lock(None)
        name = digest_of("\0".join(names).encode(), "sha256").partition(":")[2]
        return Lock(self._folder, name, self._pool)

    @asynccontextmanager
    async def hold(self, *names: str, wait_s: float = HOLD_S) -> AsyncIterator[None]:
        """Hold the lock of a name. A caller that has waited for `wait_s` seconds continues without the lock."""
        lock = self.lock(*names)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await lock.hold()
        try:
            yield
        finally:
            lock.release()

    async def abandoned(self) -> AsyncIterator[Lock]:
        """The locks of killed processes. Each is held until the caller continues with the next one."""
        folder, pool = self._folder, self._pool
        if folder is None or pool is None:
            return
        loop = asyncio.get_running_loop()
        names = await loop.run_in_executor(pool, lambda: {path.stem for path in folder.path.iterdir()})
        for name in names:
            lock = Lock(folder, name, pool)
            if await lock.try_hold():
                try:
                    yield lock
                finally:
                    lock.release()


def _taken(path: Path, folder: Folder) -> tuple[int, bytes] | None:
    """Create and lock a lock's file. Returns its descriptor and the note in it; None if another process holds it."""
    while True:
        try:
            fd = _opened(path, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX | fcntl.LOCK_NB, folder.modes.file)
        except BlockingIOError:
            return None
        except FileNotFoundError:
            folder.make()  # a program that cleans up temporary folders has deleted it
            continue
        # The last holder may have deleted the file between the two calls. Then no other process would see this lock.
        if _names(path, fd):
            left = os.pread(fd, NOTE_SIZE, 0).rstrip()
            if left:
                os.ftruncate(fd, 0)
            return fd, left
        os.close(fd)


def _opened(path: Path, flags: int, lock: int, mode: int = 0o600) -> int:
    fd = os.open(path, flags | os.O_CLOEXEC, mode)
    try:
        return _flock(fd, lock)
    except BaseException:
        os.close(fd)
        raise


def _flock(fd: int, lock: int) -> int:
    fcntl.flock(fd, lock)
    return fd


def _release(path: Path, fd: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    os.close(fd)


def _close_all(taken: tuple[int, bytes] | None) -> None:
    if taken is not None:
        os.close(taken[0])


def _names(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


async def _in_thread(work: Callable[[], Result], undo: Callable[[Result], object]) -> Result:
    """Run a call that may block forever, and cannot be interrupted, in its own thread.

    The thread does not keep the process alive. A cancelled caller continues at once. `undo` is called with the result
    when the thread has ended.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def tell(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            if error is None:
                undo(result)  # type: ignore[arg-type]
        elif error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        try:
            result, error = work(), None
        except OSError as raised:
            result, error = None, raised
        call_threadsafe(loop, lambda: tell(result, error))

    threading.Thread(target=run, name="ociserver-lock", daemon=True).start()
    return await future
