"""A blob that is downloaded from upstream. Many readers read it while it grows.

```
ASKED --begin--> COMING --keep--> KEPT      a blob of the local registry
  |                |  \\--pass_on--> WHOLE   in its file only, which is deleted after the last reader
  |                |--restart--> ASKED      the process that fetched it was killed; `attempt` counts restarts
  |--keep--> KEPT  |--fail--> FAILED        all readers get the error
```

The last byte becomes readable after the digest is verified. So no answer is complete with the wrong content.

A temporary file is closed when the blob is KEPT, so that slow readers do not occupy the disk. Readers then get the end
of the blob from memory, and anything before it from the local registry.
"""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import Final

from ociserver.compose.cache.partial_file import GrowingFile
from ociserver.compose.cache.read_ahead import ReadAhead
from ociserver.compose.cache.room import Share
from ociserver.interface import Descriptor

__all__ = ["Download", "State"]

TAIL: Final = 256 * 1024
"""Bytes of the end of a blob that stay in memory when its temporary file is closed. Readers that kept up with the
download lack no more, and need no request to a bucket for it."""


class State(Enum):
    """See the module."""

    ASKED = "asked"
    COMING = "coming"
    KEPT = "kept"
    WHOLE = "whole"
    FAILED = "failed"


class Download:
    """The state that the readers of one blob share.

    Args:
        is_temporary: whether the file is another one than that of the blob in the local registry.
    """

    def __init__(self, *, is_temporary: bool) -> None:
        self._is_temporary = is_temporary
        self.state = State.ASKED
        self.descriptor: Descriptor | None = None
        """Known from COMING on."""
        self.available = 0
        """Bytes that can be read."""
        self.attempt = 0
        """Restarts. A reader that has given bytes of one attempt cannot continue with the next: bytes may differ."""
        self.error: Exception | None = None
        """Of FAILED."""
        self.readers = 0
        self._file: GrowingFile | None = None
        self._ahead: ReadAhead | None = None
        self._share: Share | None = None
        self._tail = b""
        self._ended = False
        self._change = asyncio.Event()
        self._waiting = 0
        self._awaited = asyncio.Event()
        self._unread = asyncio.Event()

    # For the code that downloads

    def begin(self, descriptor: Descriptor, ahead: ReadAhead | None = None) -> None:
        """Start. The size is known. In the process that fetches, `ahead` has the bytes that are not in the file yet."""
        self.state, self.descriptor, self._ahead = State.COMING, descriptor, ahead
        self._notify()

    def take(self, share: Share) -> None:
        """Have room for the file, until it is closed."""
        self._share = share

    def grow(self, count: int) -> None:
        """Record that `count` bytes have arrived. The last byte stays unreadable until the digest is verified."""
        assert self.descriptor
        available = min(count, self.descriptor.size - 1)
        if available > self.available:
            self.available = available
            self._notify()

    def read_from(self, file: GrowingFile) -> None:
        """Let readers use this file from now on."""
        self._file = file

    async def keep(self, descriptor: Descriptor) -> None:
        """Finish: the blob is in the local registry."""
        if self._is_temporary and self._file is not None:
            self._tail = await self._file.read(max(0, descriptor.size - TAIL), TAIL)
            self._close_file()
        self._finish(State.KEPT, descriptor)

    def pass_on(self) -> None:
        """Finish: the blob is verified, and only in its file."""
        assert self.descriptor
        self._finish(State.WHOLE, self.descriptor)

    def restart(self) -> None:
        """Drop the bytes that have arrived."""
        self.state, self.descriptor, self.available = State.ASKED, None, 0
        self.attempt += 1
        self._close_file()
        self._notify()

    def fail(self, error: Exception) -> None:
        """End the download with an error, unless it is complete."""
        if self.state in (State.ASKED, State.COMING):
            self.state, self.error = State.FAILED, error
        self._notify()

    def end(self) -> None:
        """Mark that the downloading code is done. Readers may continue."""
        self._ended = True
        self._close_if_unused()

    async def awaited(self) -> None:
        """Wait until a reader waits for bytes."""
        await self._awaited.wait()

    @property
    def is_awaited(self) -> bool:
        """Whether a reader waits for bytes."""
        return self._waiting > 0

    async def unread(self) -> None:
        """Wait until the last reader has left."""
        while self.readers:
            self._unread.clear()
            await self._unread.wait()

    # For readers

    def join(self) -> None:
        """Register a reader. It calls `leave` once."""
        self.readers += 1

    def leave(self) -> None:
        """Unregister a reader."""
        self.readers -= 1
        if not self.readers:
            self._unread.set()
        self._close_if_unused()

    async def changed(self) -> None:
        """Wait until more bytes are readable or the state has changed."""
        if self.state in (State.ASKED, State.COMING):
            change = self._change
            self._waiting += 1
            self._awaited.set()
            try:
                await change.wait()
            finally:
                self._waiting -= 1
                if not self._waiting:
                    self._awaited.clear()

    async def read(self, at: int, size: int) -> bytes:
        """Some bytes below `available`. Empty if the caller must read them from the local registry."""
        data = self._ahead.read(at, size) if self._ahead is not None else b""
        if data:
            return data
        if self._file is not None:
            return await self._file.read(at, size)
        assert self.descriptor
        start = at - max(0, self.descriptor.size - TAIL)
        return self._tail[start : start + size] if start >= 0 else b""

    def _finish(self, state: State, descriptor: Descriptor) -> None:
        self.state, self.descriptor, self.available, self._ahead = state, descriptor, descriptor.size, None
        self._notify()

    def _notify(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    def _close_if_unused(self) -> None:
        if self._ended and not self.readers:
            self._close_file()

    def _close_file(self) -> None:
        file, self._file, self._ahead = self._file, None, None
        if file is not None:
            file.close()
        if self._share is not None:
            self._share.free()
