"""One request's hold on an upload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ociserver._core import Hasher, is_digest
from ociserver.errors import OCIError
from ociserver.interface import CHUNK_SIZE, Descriptor
from ociserver.memory.sessions import Session, Sessions

__all__ = ["Upload"]

INLINE_HASH: Final = 64 * 1024
"""Bytes up to which hashing is done on the event loop: 32 microseconds, where a thread's round trip makes it 76. Up
to 256 KiB it would cost less there too (126 against 158), but everybody else waits meanwhile."""


SMALL_PIECE: Final = 16 * 1024
"""Bytes up to which pieces are joined: an upload of single bytes must not cost an object for each."""


class Upload:
    """A `BlobWriter`: one request's hold on a session, taken at its first write or commit.

    Args:
        sessions: the session is one of them, or one that no other request can find.
        session: what is written to.
        offset: where the request's bytes begin; None for wherever the upload stopped.
        publish: ends the session and makes its bytes the blob of a digest that has been verified.
    """

    chunk_size = CHUNK_SIZE

    def __init__(
        self,
        sessions: Sessions,
        session: Session,
        offset: int | None,
        publish: Callable[[Session, str], Descriptor],
    ) -> None:
        self._sessions = sessions
        self._session = session
        self._offset = offset
        self._publish = publish

    @property
    def id(self) -> str:
        return self._session.id

    @property
    def size(self) -> int:
        return self._session.size

    async def write(self, data: bytes) -> None:
        if not data:
            return
        session = self._take()
        if self._offset not in (None, session.size):
            self._release()
            cause = OCIError("RANGE_INVALID")
            raise OCIError(
                "RANGE_INVALID", f"invalid offset {self._offset} in resumed upload (actual offset {session.size})"
            ) from cause
        self._offset = None
        self._sessions.books.take(len(data))
        try:
            await self._hash(session, data)
        except BaseException:
            self._sessions.books.give(len(data))
            raise
        if session.ended:
            # Cancelled or timed out while the bytes were being hashed.
            self._sessions.books.give(len(data))
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if session.pieces and len(session.pieces[-1]) + len(data) <= SMALL_PIECE:
            session.pieces[-1] += data
        else:
            session.pieces.append(data)
        session.size += len(data)

    async def commit(self, digest: str) -> Descriptor:
        if not is_digest(digest):
            raise OCIError("DIGEST_INVALID", "badly formed digest")
        session = self._take()
        algorithm = digest.partition(":")[0]
        if session.hasher is not None and session.algorithm == algorithm:
            found = session.hasher.digest()
        else:
            found = await _hash_again(session, algorithm)
        if session.ended:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if found != digest:
            raise OCIError("DIGEST_INVALID", detail={"digest": digest, "content": found})
        return self._publish(session, digest)

    async def cancel(self) -> None:
        self._sessions.end(self._session)

    async def aclose(self) -> None:
        self._release()
        self._sessions.touch(self._session)

    def _release(self) -> None:
        if self._session.writer is self:
            self._session.writer = None

    def _take(self) -> Session:
        session = self._session
        if session.ended:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if session.writer is not self:
            if session.writer is not None:
                raise OCIError("RANGE_INVALID", "another request is writing to this upload")
            session.writer = self
        return session

    @staticmethod
    async def _hash(session: Session, data: bytes) -> None:
        if session.hasher is None:
            return
        if len(data) <= INLINE_HASH:
            session.hasher.update(data)
            return
        try:
            await asyncio.to_thread(session.hasher.update, data)
        except asyncio.CancelledError:
            session.hasher = None
            raise


async def _hash_again(session: Session, algorithm: str) -> str:
    """Digest of everything received, in another algorithm than the one that was kept up."""
    hasher = Hasher(algorithm)

    def update() -> None:
        for piece in session.pieces:
            hasher.update(piece)

    if session.size <= INLINE_HASH:
        update()
    else:
        await asyncio.to_thread(update)
    return hasher.digest()
