"""A blob on its way from upstream into the local registry, read by many while it grows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from ociserver.compose.cache.ahead import Ahead
from ociserver.compose.cache.growth import Growth
from ociserver.compose.cache.locks import POLL_S, Lock, Note
from ociserver.compose.cache.routing import Place
from ociserver.errors import HTTPError, OCIError
from ociserver.interface import Backend, BlobWriter, Descriptor
from ociserver.store import Store

__all__ = ["Fill", "wrong_content"]


class Fill:
    """One blob, fetched by this process, or followed while another one fetches it.

    It is written into an upload of the local registry. So nothing that is half is ever a blob, and what a crash
    leaves behind is an upload that nobody goes on with, which collection ends. What has come is readable before it
    is written, so that no client waits for the disk.

    The last byte is readable when the local registry has verified the digest, and not before: no answer that goes to
    the end of a blob is whole with another content in it.

    Args:
        place: where the blob is from, and where it goes.
        digest: which one.
        local: the registry that keeps it.
        store: what that is, if it is a store, whose uploads other processes can read.
        lock: held by whoever fetches it.
        admit: called with its size before the first byte is written; refuses by raising.
        keep: with its size, around what makes it a blob.
    """

    def __init__(
        self,
        place: Place,
        digest: str,
        local: Backend,
        store: Store | None,
        lock: Lock,
        admit: Callable[[int], None],
        keep: Callable[[int], AbstractAsyncContextManager[None]],
    ) -> None:
        self.local = local
        self.repository = place.repository
        self.digest = digest
        self.descriptor: Descriptor | None = None
        self.available = 0
        self.done = False
        self.error: Exception | None = None
        # Whoever has sent bytes of one attempt cannot go on with those of another, which may be others.
        self.attempt = 0
        self._place = place
        self._store = store
        self._lock = lock
        self._admit = admit
        self._keep = keep
        self._growth: Growth | None = None
        self._ahead: Ahead | None = None
        self._written = 0
        self._readers = 0
        self._followed: tuple[Note, bytes] | None = None
        self._change = asyncio.Event()

    async def run(self) -> None:
        """Fetch or follow, to the end."""
        try:
            while not await self._advance():  # noqa: ASYNC110 - it is another process that goes on
                await asyncio.sleep(POLL_S)
        finally:
            self._unfollow()

    def end(self, error: BaseException | None) -> None:
        """Tell all readers that nothing more will come, and why."""
        if not self.done:
            self.error = error if isinstance(error, Exception) else HTTPError(503, "the cache is being closed")
        self._notify()
        self._let_go()

    async def changed(self) -> None:
        """Wait for more of it, or for its end."""
        if not self.done and self.error is None:
            await self._change.wait()

    def join(self) -> None:
        """A reader begins; it calls `leave` once."""
        self._readers += 1

    def leave(self) -> None:
        """A reader has ended."""
        self._readers -= 1
        self._let_go()

    def read(self, at: int, size: int) -> bytes:
        """Bytes below `available`; empty if they have to be read from the local registry."""
        if self._ahead is not None and at >= self._written:
            return self._ahead.read(at, size)
        return self._growth.read(at, size) if self._growth else b""

    async def _advance(self) -> bool:
        """One look; whether it is finished."""
        if not self._lock.acquire():
            self._follow()
            return False
        try:
            if self._followed is not None and not self._followed[0].read().startswith(b"kept"):
                # The process that fetched it has died, or failed.
                self._restart()
            self._unfollow()
            try:
                self.descriptor = await self.local.resolve_blob(self.repository, self.digest)
            except OCIError:
                await self._fetch()
            self.available, self.done = self.descriptor.size if self.descriptor else 0, True
            return True
        finally:
            self._lock.release()

    async def _fetch(self) -> None:
        place = self._place
        assert place.upstream
        reader = await place.upstream.get_blob(place.name, self.digest)
        try:
            descriptor = reader.descriptor
            if descriptor.size < 0:
                raise HTTPError(502, "upstream does not say how large the blob is")
            self._admit(descriptor.size)
            self.descriptor = Descriptor(descriptor.media_type, self.digest, descriptor.size)
            self._written, self._ahead = 0, Ahead(aiter(reader), self._came)
            self._notify()
            async with self._ahead:
                # What comes first goes on to whoever waits before it is anybody else's turn.
                await self._ahead.begun()
                await self._keep_all(self._ahead)
        finally:
            await reader.aclose()

    async def _keep_all(self, ahead: Ahead) -> None:
        assert self.descriptor
        writer = await self.local.push_blob_chunked(self.repository, algorithm=self.digest.partition(":")[0])
        try:
            self._tell(writer, b"fill", 0)
            async for data in ahead:
                await self._write(writer, data)
                ahead.drop(self._written)
            await self._commit(writer)
            self._tell(writer, b"kept", self.descriptor.size)
        except BaseException:
            with contextlib.suppress(Exception):
                await asyncio.shield(writer.cancel())
            raise

    def _came(self, count: int) -> None:
        """So many bytes have come from upstream."""
        assert self.descriptor
        size = self.descriptor.size
        if count > size:
            raise HTTPError(502, f"upstream's blob is longer than the {size} bytes that it has promised")
        # All but the last byte, until it is known that they are the right ones.
        self.available = min(count, size - 1)
        self._notify()

    async def _write(self, writer: BlobWriter, data: bytes) -> None:
        at = writer.size
        await writer.write(data)
        if self._growth is None:
            # A store keeps the first bytes of an upload in memory.
            self._growth = Growth.open(self._store, writer.id) if self._store else Growth.spool()
        if self._growth is None:
            return
        if self._growth.own:
            self._growth.append(data, at)
        self._written = at + len(data)
        self._tell(writer, b"fill", self._written)

    async def _commit(self, writer: BlobWriter) -> None:
        assert self.descriptor
        if writer.size != self.descriptor.size:
            raise HTTPError(502, f"upstream gave {writer.size} of the blob's {self.descriptor.size} bytes")
        try:
            async with self._keep(self.descriptor.size):
                await writer.commit(self.digest)
        except OCIError as error:
            if error.code != "DIGEST_INVALID":
                raise
            raise wrong_content(self.digest) from None

    def _tell(self, writer: BlobWriter, state: bytes, written: int) -> None:
        """Tell other processes how much of it they can read."""
        assert self.descriptor
        self._lock.write(b"%s %20d %20d %s" % (state, written, self.descriptor.size, writer.id.encode()[:400]))

    def _follow(self) -> None:
        """See how far the process is that fetches it."""
        assert self._store
        if self._followed is None:
            note = self._lock.watch()
            if note is None:
                return
            self._followed = (note, b"")
        note, known = self._followed
        fields = note.read().split()
        if len(fields) != 4:
            return
        state, available, size, key = fields
        if known != key:
            self._followed = (note, key)
            self.descriptor = Descriptor("application/octet-stream", self.digest, int(size))
        if self._growth is None and int(available) > 0:
            self._growth = Growth.open(self._store, key.decode())
        if self._growth is not None and state == b"fill":
            self.available = max(self.available, min(int(available), int(size) - 1))
        self._notify()

    def _restart(self) -> None:
        self.attempt += 1
        self.available = 0
        self._close()

    def _unfollow(self) -> None:
        if self._followed is not None:
            self._followed[0].close()
            self._followed = None

    def _notify(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    def _let_go(self) -> None:
        if self._readers == 0 and (self.done or self.error is not None):
            self._close()

    def _close(self) -> None:
        growth, self._growth, self._ahead = self._growth, None, None
        if growth is not None:
            growth.close()


def wrong_content(digest: str) -> OCIError:
    """Upstream gave other bytes than were asked for: its fault, and not the client's."""
    return OCIError(
        "DIGEST_INVALID", "upstream's content is not what its digest says", detail={"digest": digest}, status=502
    )
