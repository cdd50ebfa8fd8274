"""Writing the file of an upload: it grows, and its hash with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ociserver._core import Appender, BackgroundHasher, Hasher, hash_range
from ociserver.backlog import wait_until_below, wait_until_called
from ociserver.errors import OCIError
from ociserver.store.failpoint import reach
from ociserver.store.faults import of_disk
from ociserver.store.hashes import Seen

if TYPE_CHECKING:
    from ociserver.store.directory import Directory

__all__ = ["BOOT_SIZE", "NO_BOOT", "STAMP_SIZE", "FileWriter", "sync_folder"]

MOST: Final = 1024 * 1024
"""Bytes that may be under way before whoever brings more has to wait."""

MOST_OF_FEW: Final = 4 * MOST
"""Likewise while few are writing: two cores are shared by all who receive, hash and write, and where one of them had to
wait for a core the next had nothing to do. What is not hashed when a request ends is hashed while the client has its
turn: with half as much PATCHes of 5 MiB came a tenth slower, with twice as much no faster."""

FEW: Final = 4
"""Files being written: with more of them no core is without work."""

BOOT_SIZE: Final = 16
NO_BOOT: Final = bytes(BOOT_SIZE)
"""In the place of a boot's name: never trust a state that has it."""

STAMP_SIZE: Final = 8
"""Bytes at the end of a state that no other has: with them it says that nobody has recorded anything since."""

RECORD_EVERY: Final = 64 * 1024 * 1024
"""Bytes after which a state is worth recording again. Who has not the hash itself, as after a restart, reads again what
came since: at most some 50 ms."""


class FileWriter:
    """An open file that grows, its hash with it. The lock on it ends with the descriptor, or the process.

    `size` counts what was given to `write` and `add`; until `written` less may be in the file, and the hash may be of
    less still.
    """

    def __init__(self, directory: Directory, key: str, fd: int, algorithm: str) -> None:
        self._directory = directory
        self._key = key
        self._fd = fd
        self._algorithm = algorithm
        self._under_way: asyncio.Future[None] | None = None
        # None where the hash is not known, as after a failure.
        self._appender: Appender | None = None
        self._hash: BackgroundHasher | None = None
        self._added = False
        self._recorded = 0
        self._seen: Seen = b"", 0
        # Whether this process alone has written since that was recorded, and has the hash of all of it.
        self._goes_on = False
        self.size = 0
        directory.writers += 1

    async def restore(self, size: int, state: bytes) -> None:
        """Go on where the file ends: with the hash itself if this process has it and nobody else has written since,
        else by hashing what the recorded one has not, or all of it if another boot wrote it.

        What came since the record is in the file and was sent in this order, whether a process could still acknowledge
        it or was killed. After a power cut the file may be shorter than was recorded, or hold other bytes: the
        new hash then tells at commit.

        Args:
            size: bytes that it had at least when it was recorded; with 0 it was not, and begins anew.
            state: that was recorded with them.
        """
        fd, there = self._fd, os.fstat(self._fd)
        self.size = there.st_size if size else 0
        if there.st_size > self.size:
            await self._do(lambda: os.ftruncate(fd, 0))
        self._recorded, self._seen = size, (state, there.st_mtime_ns)
        # None if bytes have gone: then it has more than there are.
        hashing = self._directory.hashes.take(self._key, self._seen, self.size)
        # A file that does not count has to be recorded before it does.
        self._goes_on = hashing is not None and size > 0
        if hashing is None:
            hasher = self._trusted(size, state) if self.size >= size else None
            hashing = BackgroundHasher.resume(await self._read(hasher or Hasher(self._algorithm)))
        self._append_with(hashing)

    async def write(self, data: bytes) -> None:
        """Append bytes; no more than `high_water_mark` are still under way when this returns.

        On a full disk nothing is kept of the piece that failed and of those behind it, and the upload can go on later.

        Raises:
            OCIError: also, once, what has gone wrong with an earlier piece.
        """
        if self._appender is None:
            self._append_with(BackgroundHasher.resume(await self._read(Hasher(self._algorithm))))
        assert self._appender
        left = self.add(data)
        if left is None:
            await self.written()
        elif left > self.high_water_mark:
            await wait_until_below(self._appender, self.high_water_mark // 2)
        self.check()

    @property
    def high_water_mark(self) -> int:
        """`Sink.high_water_mark`."""
        return MOST_OF_FEW if self._directory.writers <= FEW else MOST

    def add(self, data: bytes) -> int | None:
        """Append bytes, from any thread: `Sink.add`."""
        appender = self._appender
        left = None if appender is None else appender.add(data)
        if left is not None:
            self.size += len(data)
            self._added = True
        return left

    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """Likewise `Sink.when_left`."""
        appender = self._appender
        if appender is None:
            callback()
        else:
            appender.when_left(backlog, callback)

    def when_kept(self, callback: Callable[[], object]) -> None:
        """Likewise `Sink.when_kept`: in the file, hashed or not."""
        appender = self._appender
        if appender is None:
            callback()
        else:
            appender.when_written(callback)

    def check(self) -> None:
        """Raise what has gone wrong with a piece, if nobody was told yet and nothing is under way."""
        appender = self._appender
        if appender is None:
            return
        try:
            appender.check()
        except OSError as error:
            self.size = appender.size() or 0
            self._forget()
            raise of_disk(error) from None

    async def suspend(self) -> bytes | None:
        """Wait until all is in the file; nothing may be written after this.

        The file says itself how far it is. What need not be in it yet is the hash, which goes on for whoever goes on
        with the upload in this process, if there are not too many that do.

        Returns:
            A state to record, for `restore`; None while the one that is recorded will do.
        """
        await self.written()
        fd, size, hashes, hashing = self._fd, self.size, self._directory.hashes, self._hash
        there = os.fstat(fd)
        if there.st_size > size:
            # What a write that failed has left, and could not take back.
            await self._do(lambda: os.ftruncate(fd, size))
            there = os.fstat(fd)
        if hashing is not None:
            if hashing.left() and not hashes.has_room():
                await wait_until_below(hashing, 0)
            # In this order: if it is of no more than the file then, so was the copy that was made of it before.
            hasher = hashing.hasher()
            if self._is_whole(hashing):
                is_new = not self._goes_on or size - self._recorded >= RECORD_EVERY
                state = self._directory.boot + hasher.save() + os.urandom(STAMP_SIZE) if is_new else self._seen[0]
                self._hash = None
                hashes.put(self._key, (state, there.st_mtime_ns), hashing)
                return state if is_new else None
        # What was recorded is of bytes that are still there; without a record the file would not count.
        return None if self._recorded else NO_BOOT

    def put_back(self) -> None:
        """Keep the hash that `restore` came to, for whoever goes on in this process, as nothing was written."""
        hashing, self._hash = self._hash, None
        # If bytes have gone, something else is recorded by now.
        if hashing is not None and self.size >= self._recorded:
            self._directory.hashes.put(self._key, self._seen, hashing)

    async def digest(self, algorithm: str) -> str:
        """Digest of everything in the file; another algorithm than the upload's costs a second reading.

        Raises:
            OCIError: what has gone wrong with a piece, if nobody was told yet.
        """
        await self.written()
        self.check()
        hashing = self._hash
        if hashing is not None and algorithm == self._algorithm:
            await wait_until_below(hashing, 0)
            if self._is_whole(hashing):
                return hashing.digest()
        return (await self._read(Hasher(algorithm))).digest()

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

    async def cut(self, size: int) -> None:
        """Give back the room of what is behind the first `size` bytes."""
        await self.written()
        if self.size > size:
            self._forget()
            self.size = size
        fd, size = self._fd, self.size
        await self._do(lambda: os.ftruncate(fd, size))

    async def written(self) -> None:
        """Wait until all is in the file that will be, also what a cancelled caller has left running."""
        while self._under_way is not None and not self._under_way.done():
            await asyncio.wait([self._under_way])
        if self._appender is not None:
            if self._appender.size() is None:
                await wait_until_called(self._appender.when_written)
            # Less than was given, if some could not be written: then its hash has bytes that are not there.
            there = self._appender.size()
            self.size = self.size if there is None else there
        if self._added:
            self._added = False
            reach("chunk appended")

    def close(self) -> None:
        """Let go of the file and of the lock, as soon as no thread uses them; what waits is not written any more."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self._directory.writers -= 1
        appender = self._appender
        self._forget()

        def close_file(_: object = None) -> None:
            if appender is None:
                os.close(fd)
            else:
                appender.close()
                self._directory.close_when_written(fd, appender)

        if self._under_way is None or self._under_way.done():
            close_file()
        else:
            self._under_way.add_done_callback(close_file)

    def _append_with(self, hashing: BackgroundHasher) -> None:
        self._hash = hashing
        self._appender = Appender(self._fd, self.size, hashing, self._directory.syncs)

    def _forget(self) -> None:
        """The hash, and what waits for it."""
        if self._hash is not None:
            self._hash.close()
        self._hash = self._appender = None

    async def _do(self, function: Callable[[], None]) -> None:
        # Shielded: a thread cannot be stopped when its request is, and its descriptor must outlive it.
        self._under_way = self._directory.run(function)
        try:
            await asyncio.shield(self._under_way)
        except OSError as error:
            raise of_disk(error) from None

    def _is_whole(self, hashing: BackgroundHasher) -> bool:
        """Whether all that a hash was given is in the file, and not under way or lost."""
        return self._appender is not None and self._appender.size() == self.size == hashing.length()

    async def _read(self, hasher: Hasher) -> Hasher:
        """Hash what is in the file behind what the hash has."""
        fd, begin, left = self._fd, hasher.length, self.size - hasher.length
        if left:
            await self._do(lambda: hash_range(fd, begin, left, hasher))
        return hasher

    def _trusted(self, size: int, state: bytes) -> Hasher | None:
        """The hash that a state has saved, if its bytes cannot have been lost since; it may be of fewer."""
        boot, saved = state[:BOOT_SIZE], state[BOOT_SIZE:-STAMP_SIZE]
        if boot != self._directory.boot or boot == NO_BOOT:
            return None
        try:
            hasher = Hasher.resume(saved)
        except ValueError:
            return None  # written by another version
        return hasher if hasher.length <= size and hasher.algorithm == self._algorithm else None


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
