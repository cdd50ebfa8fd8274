"""Writing the file of an upload: it grows, and its hash with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ociserver._core import Hasher, append_to, hash_range
from ociserver.errors import OCIError
from ociserver.store.failpoint import reach
from ociserver.store.faults import of_disk

if TYPE_CHECKING:
    from ociserver.store.directory import Directory

__all__ = ["BOOT_SIZE", "NO_BOOT", "FileWriter", "sync_folder"]

WRITE_OUT_SIZE: Final = 1024 * 1024
"""Bytes after which the disk is asked to begin with them. The sync at the end then finds little left: 256 MiB in one
PUT came at 671 MB/s instead of 569. While the thread stood still for that, 1 or 2 MiB were no faster than 4; now it is
done beside hashing, so that the less at once the better it fits."""

AHEAD: Final = 2
"""Pieces that one upload has under way: while one is written the next one waits for the same thread. Where that had to
wait for the event loop, and for the interpreter's lock that the next piece is received under, between any two of them
a quarter of a millisecond went by, of the whole that one takes."""

TURN: Final = 16
"""Pieces after which a thread goes to the end of the line, so that more uploads than threads share them."""

BOOT_SIZE: Final = 16
NO_BOOT: Final = bytes(BOOT_SIZE)
"""In the place of a boot's name: never trust a state that has it."""


class FileWriter:
    """An open file that grows, its hash with it. The lock on it ends with the descriptor, or the process.

    `size` counts what was given to `write`. What of it is in the file is `_there`, and until `settle` that may be less.
    """

    def __init__(self, directory: Directory, key: str, fd: int, hasher: Hasher) -> None:
        self._directory = directory
        self._key = key
        self._fd = fd
        self._hasher: Hasher | None = hasher
        self._algorithm = hasher.algorithm
        self._under_way: asyncio.Future[None] | None = None
        self._written_out = 0
        self._there = 0
        self.size = 0
        # Of the event loop and the thread that appends: what waits, whether a thread is at it, who waits for room.
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._appending = False
        self._room: asyncio.Future[None] | None = None
        self._failure: Exception | None = None

    async def restore(self, size: int, state: bytes) -> None:
        """Go on from what was recorded: without reading the file if this boot wrote it, else by hashing it again.

        After a power cut the file may be shorter than was recorded, or hold other bytes: the new hash
        then tells at commit. What is behind the recorded end was never acknowledged, and goes.
        """
        fd, there = self._fd, os.fstat(self._fd).st_size
        hasher = self._trusted(size, state) if there >= size else None
        if hasher is not None and there == size:
            # As every chunk but an interrupted one leaves it: nothing of this waits for the disk.
            self.size, self._there, self._written_out, self._hasher = size, size, size, hasher
            return
        there = min(size, there)

        def restore() -> None:
            os.ftruncate(fd, there)
            known = hasher or Hasher(self._algorithm)
            if hasher is None:
                hash_range(fd, 0, there, known)
            self.size, self._there, self._written_out, self._hasher = there, there, there, known

        await self._do(restore)

    async def write(self, data: bytes) -> None:
        """Append bytes, of which fewer than `AHEAD` pieces are still under way when this returns.

        On a full disk nothing is kept of the piece that failed and of those behind it, and the upload can go on later.

        Raises:
            OCIError: also, once, what has gone wrong with an earlier piece.
        """
        self.check()
        if self._hasher is None:
            await self._rehash(self._algorithm)
        room: asyncio.Future[None] | None = None
        idle, loop = False, asyncio.get_running_loop()
        with self._lock:
            if self._failure is None:  # or there would be a hole before these bytes
                self._waiting.append(data)
                self.size += len(data)
                idle, self._appending = not self._appending, True
                if len(self._waiting) >= AHEAD:
                    room = self._room = loop.create_future()
        if idle:
            self._go_on(loop)
        if room is not None:
            await room
        self.check()

    def check(self) -> None:
        """Raise what has gone wrong with a piece, if nobody was told yet."""
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise of_disk(failure) if isinstance(failure, OSError) else failure

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._fd >= 0:
            self._under_way = self._directory.run(lambda: self._append_waiting(loop))

    def _append_waiting(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, append what waits until nothing does, or another upload has its turn."""
        for _ in range(TURN):
            with self._lock:
                if not self._waiting:
                    self._appending = False
                    return
                data = self._waiting[0]
            self._append(data, loop)
        loop.call_soon_threadsafe(self._go_on, loop)

    def _append(self, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
        fd, size, hasher = self._fd, self._there, self._hasher
        end, begin = size + len(data), self._written_out
        # What has to be synced later the disk may begin with.
        is_due = self._directory.syncs and end - begin >= WRITE_OUT_SIZE
        failure: Exception | None = None
        try:
            assert hasher
            append_to(fd, size, data, hasher, write_out=begin if is_due else None)
            if is_due:
                self._written_out = end
        except Exception as error:
            failure = error
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)
        with self._lock:
            if failure is None:
                self._there = end
                if self._waiting:  # which closing empties
                    self._waiting.popleft()
            else:
                self._failure, self._hasher, self.size = failure, None, size
                self._waiting.clear()
            room, self._room = self._room, None
        if room is not None:
            loop.call_soon_threadsafe(_make_room, room)
        if failure is None:
            reach("chunk appended")

    def suspend(self) -> bytes:
        """The state to go on from, for `restore`."""
        if self._hasher is None or self._hasher.length != self.size:
            return NO_BOOT
        return self._directory.boot + self._hasher.save()

    async def digest(self, algorithm: str) -> str:
        """Digest of everything in the file; another algorithm than the upload's costs a second reading.

        Raises:
            OCIError: what has gone wrong with a piece, if nobody was told yet.
        """
        await self.settle()
        self.check()
        hasher = self._hasher
        if hasher is None or hasher.length != self.size or hasher.algorithm != algorithm:
            hasher = await self._rehash(algorithm)
        return hasher.digest()

    async def finish(self) -> None:
        """Make the file and its name survive a power cut; nothing may be written after this.

        Raises:
            OCIError: BLOB_UPLOAD_INVALID if bytes have gone from the file behind our back.
        """
        fd, size, folder = self._fd, self.size, self._directory.path(self._key).parent
        syncs = self._directory.syncs

        def sync() -> None:
            there = os.fstat(fd).st_size
            if there < size:
                raise OCIError("BLOB_UPLOAD_INVALID", f"only {there} of {size} bytes are still there")
            if there > size:
                os.ftruncate(fd, size)  # what a write that failed has left
            if syncs:
                os.fsync(fd)
                reach("file synced")
                sync_folder(folder)
                reach("folder synced")

        await self._do(sync)

    async def clear(self) -> None:
        """Give back the room that the bytes take."""
        await self.settle()
        fd = self._fd

        def clear() -> None:
            self.size, self._there, self._written_out, self._hasher = 0, 0, 0, None
            os.ftruncate(fd, 0)

        await self._do(clear)

    async def settle(self) -> None:
        """Wait for what is under way, also what a cancelled caller has left running."""
        while self._under_way is not None and not self._under_way.done():
            await asyncio.wait([self._under_way])

    def close(self) -> None:
        """Let go of the file and of the lock, as soon as no thread uses them; what waits is not written any more."""
        with self._lock:
            self._waiting.clear()
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._under_way is None or self._under_way.done():
            os.close(fd)
        else:
            self._under_way.add_done_callback(lambda _: os.close(fd))

    async def _do(self, function: Callable[[], None]) -> None:
        # Shielded: a thread cannot be stopped when its request is, and its descriptor must outlive it.
        self._under_way = self._directory.run(function)
        try:
            await asyncio.shield(self._under_way)
        except OSError as error:
            raise of_disk(error) from None

    async def _rehash(self, algorithm: str) -> Hasher:
        hasher = Hasher(algorithm)
        fd, size = self._fd, self.size
        await self._do(lambda: hash_range(fd, 0, size, hasher))
        if algorithm == self._algorithm:
            self._hasher = hasher
        return hasher

    def _trusted(self, size: int, state: bytes) -> Hasher | None:
        """The hash that a state has saved, if its bytes cannot have been lost since."""
        boot, saved = state[:BOOT_SIZE], state[BOOT_SIZE:]
        if boot != self._directory.boot or boot == NO_BOOT:
            return None
        try:
            hasher = Hasher.resume(saved)
        except ValueError:
            return None  # written by another version
        return hasher if (hasher.length, hasher.algorithm) == (size, self._algorithm) else None


def _make_room(room: asyncio.Future[None]) -> None:
    if not room.done():
        room.set_result(None)


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
