"""Unfinished uploads: sessions, which outlive the requests that write to them."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict

from ociserver._core import Hasher
from ociserver.errors import OCIError
from ociserver.memory import costs
from ociserver.memory.books import Books

__all__ = ["Session", "Sessions"]


class Session:
    """The state of one upload."""

    __slots__ = ("algorithm", "ended", "hasher", "id", "pieces", "repository", "size", "touched", "writer")

    def __init__(self, upload_id: str, repository: str, algorithm: str) -> None:
        self.id = upload_id
        self.repository = repository
        self.algorithm = algorithm
        self.pieces: list[bytes] = []
        self.size = 0
        # None after a write was cancelled while its bytes were being hashed. Then commit hashes everything again.
        self.hasher: Hasher | None = Hasher(algorithm)
        self.writer: object | None = None
        """The request that writes to it, if there is one."""
        self.ended = False
        self.touched = time.monotonic()


class Sessions:
    """The sessions of a registry. It ends those that receive no data.

    The caller counts `costs.UPLOAD` before it creates a session. `end` subtracts it.

    Args:
        books: counts the bytes of unfinished uploads.
        timeout_s: seconds after which a session that receives no data is ended.
    """

    def __init__(self, books: Books, timeout_s: float) -> None:
        self.books = books
        self._timeout_s = timeout_s
        # In the order of their last use, so that those that time out next come first.
        self._by_id: OrderedDict[str, Session] = OrderedDict()

    def start(self, repository: str, algorithm: str) -> Session:
        """Create a session that later requests find by its id."""
        session = Session(secrets.token_hex(32), repository, algorithm)
        self._by_id[session.id] = session
        return session

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, repository: str, upload_id: str) -> Session:
        """The session of an id. Raises BLOB_UPLOAD_UNKNOWN."""
        session = self._by_id.get(upload_id)
        if session is None or session.repository != repository:
            raise OCIError("BLOB_UPLOAD_UNKNOWN")
        return session

    def touch(self, session: Session) -> None:
        """Record that a session is in use."""
        session.touched = time.monotonic()
        if session.id in self._by_id:
            self._by_id.move_to_end(session.id)

    def end(self, session: Session) -> None:
        """Remove a session, and the bytes that have not become a blob. A second call does nothing."""
        if session.ended:
            return
        session.ended = True
        self._by_id.pop(session.id, None)
        self.books.give(session.size, costs.UPLOAD)
        session.pieces = []

    def expire(self) -> None:
        """End the sessions that have timed out, which come first in the order."""
        limit = time.monotonic() - self._timeout_s
        while self._by_id:
            session = next(iter(self._by_id.values()))
            if session.touched > limit:
                return
            if session.writer is not None:
                # A request is writing to it, perhaps slowly. The timeout counts from the end of this request.
                self.touch(session)
            else:
                self.end(session)
