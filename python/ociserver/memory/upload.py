"""An upload, while one request uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ociserver._core import Hasher
from ociserver.digests import check_digest
from ociserver.errors import OCIError
from ociserver.interface import CHUNK_SIZE, Descriptor
from ociserver.memory.sessions import Session, Sessions

__all__ = ["Upload"]

INLINE_HASH: Final = 64 * 1024
"""The most bytes that are hashed on the event loop: this takes 32 microseconds, and 76 with a thread. Up to 256 KiB the
event loop would be faster too (126 against 158), but all other requests wait meanwhile."""

SMALL_PIECE: Final = 16 * 1024
"""The most bytes in a piece that was joined from smaller ones: an upload of single bytes must not cost an object for
each byte."""


class Upload:
    """A `BlobWriter`. It becomes the only writer of its session with the first write or commit.

    Args:
        sessions: the sessions of the registry. The session is one of them, or no other request can find it.
        session: the session that is written to.
        offset: where the bytes of the request begin; None: at the end of the upload, wherever that is.
        publish: ends the session and makes its bytes a blob, with a digest that was verified.
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
            # The upload was cancelled, or has timed out, while the bytes were being hashed.
            self._sessions.books.give(len(data))
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        if session.pieces and len(session.pieces[-1]) + len(data) <= SMALL_PIECE:
            session.pieces[-1] += data
        else:
            session.pieces.append(data)
        session.size += len(data)

    async def commit(self, digest: str) -> Descriptor:
        check_digest(digest)
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
    """The digest of all bytes, if the session has no hash with this algorithm."""
    hasher = Hasher(algorithm)

    def update() -> None:
        for piece in session.pieces:
            hasher.update(piece)

    if session.size <= INLINE_HASH:
        update()
    else:
        await asyncio.to_thread(update)
    return hasher.digest()
