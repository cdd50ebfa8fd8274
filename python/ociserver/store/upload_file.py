"""The file of an upload, while one request writes to it: it grows, and its hash with it.

Theory of operation
===================
An `UploadFile` has the lock on the file. Pieces go to an `Appender` of the core, which writes them in one thread and
hashes them in another (a `BackgroundHasher`). So a write may fail after `write` or `add` has returned, and the hash may
be of fewer bytes than the file. Four states:

- LOCKED: opened; `restore` says next where the file ends and what its hash is.
- GROWING: takes pieces.
- BROKEN: a piece could not be written, or bytes were cut off. The file ends before that piece, and the hash that was
  fed with it is gone. The next `write` hashes the file from its beginning and is GROWING again.
- CLOSED.

The hash between two requests
-----------------------------
The file's length says how far an upload is. The row of the upload has the hash of a prefix of the file: `suspend`
returns what to record, and `restore` is given what was recorded. That state begins with the id of the boot that wrote
it: within one boot the file has what was written to it, so the state is trusted; after another boot all is hashed
again. It ends with random bytes, so that no two states are equal.

The process that ends a request also keeps the hash itself (`HashCache`). The next request takes it if neither the
recorded state nor the file's modification time has changed: then no other process has written meanwhile. In this case
the state is recorded again only after every `RECORD_EVERY` bytes.
"""

from __future__ import annotations

import asyncio
import enum
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ociserver._core import Appender, BackgroundHasher, Hasher, hash_range
from ociserver.backlog import wait_until_below, wait_until_called
from ociserver.errors import OCIError
from ociserver.store.directory import Directory
from ociserver.store.disk import BOOT_SIZE, NO_BOOT, sync_folder
from ociserver.store.errors import of_disk
from ociserver.store.failpoint import reach
from ociserver.store.hash_cache import HashCache, Seen

__all__ = ["MOST_OF_FEW", "RECORD_EVERY", "STAMP_SIZE", "State", "UploadFile"]

MOST: Final = 1024 * 1024
"""High-water mark: the most bytes that may wait to be written and hashed. Above it, callers wait until half is left."""

MOST_OF_FEW: Final = 4 * MOST
"""The high-water mark while few files are written. The threads that receive, hash and write share the cores: with a
lower mark, one of them had nothing to do while another waited for a core. What is not hashed when a request ends is
hashed while the client prepares the next one. With half as much, PATCHes of 5 MiB were a tenth slower; with twice as
much they were no faster."""

FEW: Final = 4
"""The most open files that count as few: with more of them every core has work."""

STAMP_SIZE: Final = 8
"""Random bytes at the end of a state. An equal state proves that nothing was recorded in between."""

RECORD_EVERY: Final = 64 * 1024 * 1024
"""Bytes after which the state is recorded again. A process without the hash, for example after a restart, reads at most
this much again, in some 50 ms."""


class State(enum.Enum):
    """See "Theory of operation"."""

    LOCKED = enum.auto()
    GROWING = enum.auto()
    BROKEN = enum.auto()
    CLOSED = enum.auto()


_TRANSITIONS: Final[dict[State, set[State]]] = {
    State.LOCKED: {State.GROWING, State.CLOSED},
    State.GROWING: {State.BROKEN, State.CLOSED},
    State.BROKEN: {State.GROWING, State.BROKEN, State.CLOSED},
    State.CLOSED: set(),
}
"""The states that can follow each state."""


@dataclass(frozen=True, slots=True)
class _Restored:
    """What `restore` found.

    Args:
        size: bytes that were recorded; 0 if nothing was, so that the file does not count until something is.
        seen: the recorded state, and when the file was modified.
        has_hash: whether the hash was cached. Then only this process has written since the state was recorded.
    """

    size: int
    seen: Seen
    has_hash: bool


class UploadFile:
    """An `UploadContent` over an open and locked file. The lock ends with the descriptor, or the process.

    Args:
        blobs: the folder that the file is in.
        hashes: the hashes of uploads between two requests.
        key: the key of the file.
        fd: the descriptor, open for writing and locked. `close` closes it.
        record_every: bytes after which the state is recorded again.
    """

    def __init__(
        self,
        blobs: Directory,
        hashes: HashCache,
        key: str,
        fd: int,
        *,
        record_every: int = RECORD_EVERY,
    ) -> None:
        self._blobs = blobs
        self._hashes = hashes
        self._key = key
        self._fd = fd
        self._algorithm = ""
        self._record_every = record_every
        self._state = State.LOCKED
        self._restored = _Restored(0, (b"", 0), has_hash=False)
        # Both exist while GROWING. `suspend` and `put_back` give the hash to the cache.
        self._appender: Appender | None = None
        self._hash: BackgroundHasher | None = None
        # What a thread is doing with the descriptor. It continues after the request was cancelled.
        self._under_way: asyncio.Future[None] | None = None
        self._added = False
        self.size = 0
        """Bytes that were given to `write` and `add`. Until `written`, the file may have fewer."""
        blobs.writers += 1

    @property
    def state(self) -> State:
        """The state; see "Theory of operation"."""
        return self._state

    can_finish_again = False

    @property
    def key(self) -> str:
        return self._key

    @property
    def holder(self) -> None:
        """Nobody but the system: it knows who has locked the file."""
        return None

    async def open_sink(self) -> UploadFile:
        return self

    async def restore(self, size: int, state: bytes, algorithm: str) -> bytes | None:
        """`UploadContent.restore`.

        Bytes behind the recorded ones were sent in this order, by a process that may have been killed before it
        acknowledged them: they count. After a power cut the file may be shorter than was recorded, or have other bytes:
        then the digest is wrong at commit.
        """
        self._algorithm = algorithm
        fd, there = self._fd, os.fstat(self._fd)
        self.size = there.st_size if size else 0
        if there.st_size > self.size:
            await self._do(lambda: os.ftruncate(fd, 0))
        seen = state, there.st_mtime_ns
        # None if bytes are missing: a cached hash covers more bytes than the file has.
        hashing = self._hashes.take(self._key, seen, self.size)
        self._restored = _Restored(size, seen, has_hash=hashing is not None)
        if hashing is None:
            hasher = self._trusted(size, state) if self.size >= size else None
            hashing = BackgroundHasher.resume(await self._read(hasher or Hasher(self._algorithm)))
        self._grow_with(hashing)
        # The recorded hash must not be used for other bytes in the place of those that are missing.
        return NO_BOOT if self.size < size else None

    async def write(self, data: bytes) -> None:
        """Append bytes, and wait while more than the high-water mark waits to be written and hashed.

        Raises:
            OCIError: this piece or an earlier one could not be written. It is raised once. The file then ends before
                the piece that failed, and takes more pieces.
        """
        if self._state is State.BROKEN:
            self._grow_with(BackgroundHasher.resume(await self._read(Hasher(self._algorithm))))
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
        return MOST_OF_FEW if self._blobs.writers <= FEW else MOST

    def add(self, data: bytes) -> int | None:
        """`Sink.add`."""
        appender = self._appender
        left = None if appender is None else appender.add(data)
        if left is not None:
            self.size += len(data)
            self._added = True
        return left

    def when_left(self, backlog: int, callback: Callable[[], object]) -> None:
        """`Sink.when_left`."""
        appender = self._appender
        if appender is None:
            callback()
        else:
            appender.when_left(backlog, callback)

    def when_kept(self, callback: Callable[[], object]) -> None:
        """`Sink.when_kept`: when the pieces are in the file, hashed or not."""
        appender = self._appender
        if appender is None:
            callback()
        else:
            appender.when_written(callback)

    def check(self) -> None:
        """Raise the error of a piece, once. Does nothing while pieces are being written."""
        appender = self._appender
        if appender is None:
            return
        try:
            appender.check()
        except OSError as error:
            self.size = appender.size() or 0
            self._break()
            raise of_disk(error) from None

    def is_deleted(self) -> bool:
        """Whether the file has no name any more. Then its upload has ended."""
        return not os.fstat(self._fd).st_nlink

    async def suspend(self) -> bytes | None:
        """End writing: wait until all bytes are in the file, and put the hash into the cache for the next request.

        Returns:
            The state to record, for `restore`; None if the recorded state is enough.
        """
        await self.written()
        fd, size, hashing = self._fd, self.size, self._hash
        there = os.fstat(fd)
        if there.st_size > size:
            # A failed write has left a part of its piece, and could not remove it.
            await self._do(lambda: os.ftruncate(fd, size))
            there = os.fstat(fd)
        if hashing is not None:
            if hashing.left() and not self._hashes.has_room():
                await wait_until_below(hashing, 0)
            # Copied before the lengths are compared: if the hash then covers no more than the file, nor does the copy.
            hasher = hashing.hasher()
            if self._is_of_file(hashing):
                is_due = self._is_record_due()
                state = self._blobs.boot + hasher.save() + os.urandom(STAMP_SIZE) if is_due else self._restored.seen[0]
                self._hash = None
                self._hashes.put(self._key, (state, there.st_mtime_ns), hashing)
                return state if is_due else None
        # The recorded state covers bytes that still exist. But without any record, the file would not count.
        return None if self._restored.size else NO_BOOT

    async def recorded(self) -> None:
        """`UploadContent.recorded`: an older record needs nothing."""

    def ended(self) -> None:
        """`UploadContent.ended`: the lock ends with `close`."""

    async def seal(self) -> None:
        """`UploadContent.seal`: the length of the file says how far the upload is."""

    async def put_back(self) -> None:
        """End without a write: put the hash that `restore` has found back into the cache for the next request."""
        hashing, self._hash = self._hash, None
        # If bytes were missing, another state has been recorded since.
        if hashing is not None and self.size >= self._restored.size:
            self._hashes.put(self._key, self._restored.seen, hashing)

    async def digest(self, algorithm: str) -> str:
        """The digest of the file. With another algorithm than the upload's, the file is read again.

        Raises:
            OCIError: a piece could not be written.
        """
        await self.written()
        self.check()
        hashing = self._hash
        if hashing is not None and algorithm == self._algorithm:
            await wait_until_below(hashing, 0)
            if self._is_of_file(hashing):
                return hashing.digest()
        return (await self._read(Hasher(algorithm))).digest()

    async def finish(self) -> None:
        """Make the file and its name survive a power cut. Nothing may be written afterwards.

        Raises:
            OCIError: BLOB_UPLOAD_INVALID if bytes are missing that were written.
        """
        fd, size, folder, syncs = self._fd, self.size, self._blobs.path(self._key).parent, self._blobs.syncs

        def sync() -> None:
            there = os.fstat(fd).st_size
            if there < size:
                raise OCIError("BLOB_UPLOAD_INVALID", f"only {there} of {size} bytes are still there")
            if there > size:
                os.ftruncate(fd, size)  # a failed write has left a part of its piece
            if syncs:
                os.fsync(fd)
                reach("file synced")
                sync_folder(folder)
                reach("folder synced")

        await self._do(sync)

    async def cut(self, size: int) -> None:
        """Truncate the file to `size` bytes, which frees space."""
        await self.written()
        if self.size > size:
            self._break()
            self.size = size
        fd, size = self._fd, self.size
        await self._do(lambda: os.ftruncate(fd, size))

    async def written(self) -> None:
        """Wait until all bytes are in the file or lost, including those of a cancelled caller."""
        while self._under_way is not None and not self._under_way.done():
            await asyncio.wait([self._under_way])
        if self._appender is not None:
            if self._appender.size() is None:
                await wait_until_called(self._appender.when_written)
            # Fewer bytes than were given, if a piece could not be written. The hash then covers more.
            there = self._appender.size()
            self.size = self.size if there is None else there
        if self._added:
            self._added = False
            reach("chunk appended")

    def close(self) -> None:
        """Close the file, and so release its lock, as soon as no thread uses it. Pieces that still wait are dropped."""
        if self._state is State.CLOSED:
            return
        fd, self._fd, appender = self._fd, -1, self._appender
        self._blobs.writers -= 1
        self._drop_hash()
        self._change(State.CLOSED)

        def close_file(_: object = None) -> None:
            if appender is None:
                os.close(fd)
            else:
                appender.close()
                self._blobs.close_when_written(fd, appender)

        if self._under_way is None or self._under_way.done():
            close_file()
        else:
            self._under_way.add_done_callback(close_file)

    def _change(self, state: State) -> None:
        if state not in _TRANSITIONS[self._state]:
            raise RuntimeError(f"the file of an upload cannot be {state.name} after {self._state.name}")
        self._state = state

    def _grow_with(self, hashing: BackgroundHasher) -> None:
        self._change(State.GROWING)
        self._hash = hashing
        self._appender = Appender(self._fd, self.size, hashing, self._blobs.syncs)

    def _break(self) -> None:
        self._drop_hash()
        self._change(State.BROKEN)

    def _drop_hash(self) -> None:
        """Drop the hash, and the pieces that it has not hashed yet."""
        if self._hash is not None:
            self._hash.close()
        self._hash = self._appender = None

    async def _do(self, function: Callable[[], None]) -> None:
        # Shielded: a cancelled request cannot stop the thread, and the descriptor must stay open for it.
        self._under_way = self._blobs.run(function)
        try:
            await asyncio.shield(self._under_way)
        except OSError as error:
            raise of_disk(error) from None

    def _is_of_file(self, hashing: BackgroundHasher) -> bool:
        """Whether a hash was given exactly what is in the file; False while pieces are being written."""
        return self._appender is not None and self._appender.size() == self.size == hashing.length()

    def _is_record_due(self) -> bool:
        restored = self._restored
        return not (restored.size and restored.has_hash) or self.size - restored.size >= self._record_every

    async def _read(self, hasher: Hasher) -> Hasher:
        """Hash the bytes of the file that the hash does not cover yet."""
        fd, begin, left = self._fd, hasher.length, self.size - hasher.length
        if left:
            await self._do(lambda: hash_range(fd, begin, left, hasher))
        return hasher

    def _trusted(self, size: int, state: bytes) -> Hasher | None:
        """The hash in a recorded state, if its bytes cannot have been lost since. It may cover fewer bytes."""
        boot, saved = state[:BOOT_SIZE], state[BOOT_SIZE:-STAMP_SIZE]
        if boot != self._blobs.boot or boot == NO_BOOT:
            return None
        try:
            hasher = Hasher.resume(saved)
        except ValueError:
            return None  # written by another version
        return hasher if hasher.length <= size and hasher.algorithm == self._algorithm else None
