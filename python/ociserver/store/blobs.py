"""`Blobs`: what a store needs of the place where it keeps the contents that are too large for its database.

Theory of operation
===================
A content has a key, which is the id of the upload that brings it. Only the metadata knows which digest a key has, and
who needs it. While a request writes to the upload, its content is an `UploadContent`. The commit of the upload, a
transaction of the metadata, makes this content a blob: nothing is moved or copied. From then on it never changes, and
its key is never used again.

The order of the steps is what survives a crash:

- The bytes come before the metadata: `UploadContent.finish`, then the transaction that names the key.
- They go after the metadata: the transaction that names the key no longer, then `Blobs.delete`.

So a crash leaves contents that nothing names, and never a name without its content. `Blobs.scan` finds the former.
Whatever was interrupted may be done again, by the same process or another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ociserver.blob_io import BlobReader, Sink
from ociserver.values import Descriptor

__all__ = ["Blobs", "Found", "HeldError", "Status", "UnreadableError", "UploadContent"]


class HeldError(Exception):
    """A request, of this process or another, holds the upload."""


class UnreadableError(Exception):
    """The bytes of a content cannot be read, although it is there."""


@dataclass(frozen=True, slots=True)
class Found:
    """A content that a scan has found. `step` is the step of the scan that found it, below `Blobs.scan_steps`."""

    step: int
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Status:
    """The content of an upload: its bytes, and when it was last written to, in seconds since 1970."""

    size: int
    modified: float


class UploadContent(Sink, Protocol):
    """The content of an upload, which one request holds: nobody else can write to it until `close`.

    `restore` is called first, and once. A request that is cancelled may leave bytes that were given to it. They count,
    as the next `restore` finds them.
    """

    @property
    def size(self) -> int:
        """Bytes that were given to it. Until `written`, fewer may be stored."""

    async def restore(self, size: int, state: bytes, algorithm: str) -> bytes | None:
        """Continue where the content ends, which may be behind the recorded size: what a killed process has stored
        counts.

        Args:
            size: bytes that were recorded. 0: nothing was recorded, and what is there is removed.
            state: the state that was recorded with them, by any process: see `suspend`.
            algorithm: the algorithm of the digest that the upload most likely gets.

        Returns:
            The state to record at once, with the new size, because recorded bytes are missing; None otherwise.
        """

    async def write(self, data: bytes) -> None:
        """Append bytes. It waits while there is a backlog.

        Raises:
            OCIError: this piece or an earlier one could not be stored. It is raised once. The content then ends before
                that piece, and takes more pieces.
        """

    async def written(self) -> None:
        """Wait until all bytes are stored or lost, including those of a cancelled caller."""

    def check(self) -> None:
        """Raise the error of a piece, once."""

    def is_deleted(self) -> bool:
        """Whether the content was deleted. Then its upload has ended. It is called for each piece, so it is cheap."""

    async def suspend(self) -> bytes | None:
        """End writing, so that any process can continue. What is stored now survives the process.

        Returns:
            The state to record with the size, for `restore`; None if the recorded state is enough. Its bytes mean
            nothing to others. They never begin with 16 bytes 0xff, which mark an upload whose bytes are in its row.
        """

    def put_back(self) -> None:
        """End without a write: the recorded state stays valid."""

    async def digest(self, algorithm: str) -> str:
        """The digest of all bytes. Raises the error of a piece."""

    async def finish(self) -> None:
        """Make the content survive a power cut, under its key. Nothing may be written afterwards.

        It may be called again, by the next request, if the commit was not made.

        Raises:
            OCIError: BLOB_UPLOAD_INVALID if bytes are missing that were written.
        """

    async def cut(self, size: int) -> None:
        """Remove what is behind the first `size` bytes, which frees space."""

    def close(self) -> None:
        """Let others hold the upload, as soon as nothing writes to it any more. A second call does nothing."""


class Blobs(Protocol):
    """The contents of a store. Any number of processes may use them at the same time.

    A method that finds the storage broken or full raises OCIError: 503 or 507.
    """

    async def open(self) -> None:
        """Prepare the storage. It may be called again after `close`, and in any number of processes."""

    async def close(self) -> None:
        """Wait for what is under way."""

    # Contents that the metadata names

    def read(self, key: str, descriptor: Descriptor, start: int, stop: int) -> BlobReader | None:
        """Read a part of a content, to its end even if the content is deleted meanwhile.

        None if the content is missing or has another size than its descriptor: the blob is then unknown, so that a
        client pushes it again.
        """

    def size(self, key: str) -> int | None:
        """Bytes of a content, finished or not; None if there is none."""

    def is_whole(self, key: str, size: int) -> bool:
        """Whether a content is there and has this size."""

    async def digest(self, key: str, size: int, algorithm: str) -> str | None:
        """Read a content and compute its digest; None if it is missing or has another size.

        Raises:
            UnreadableError: its bytes cannot be read.
        """

    # Uploads

    async def hold(self, key: str, *, make: bool) -> UploadContent | None:
        """Become the only writer of the content of an upload, among all requests of all processes.

        The hold ends with `UploadContent.close`, or when the process dies. Read how far the upload is only after this:
        before, another process may have committed it, and its content belongs to a blob.

        Args:
            key: the id of the upload.
            make: whether to make an empty content if there is none. If not, the result is None.

        Raises:
            OCIError: RANGE_INVALID while another request holds it.
        """

    def is_held(self, key: str) -> bool:
        """Whether a request, of any process, holds the content of an upload. False if there is none."""

    def closed_to_writers(self, key: str) -> AbstractContextManager[Status | None]:
        """Keep every request of every process from holding the content of an upload. None if there is none.

        It does not exclude itself: several may have it at the same time.

        Raises:
            HeldError: a request holds it.
        """

    # What nothing needs

    async def delete(self, keys: Collection[str]) -> None:
        """Delete contents, of blobs and of uploads. What does not exist counts as deleted.

        The transactions that name these keys no longer must be committed. They first become durable, if they are not:
        after a power cut no row may name a content that is gone.
        """

    def scan(self, page_size: int) -> AsyncIterator[list[Found]]:
        """All contents, of blobs and of uploads, in pages, in the order of the steps of the scan.

        A content that is made or deleted meanwhile may be among them or not. Ask the metadata about a page only after
        it was found: then a content that is found and not named is needed by nothing.
        """

    @property
    def scan_steps(self) -> int:
        """The number of steps of a scan, for progress."""

    def is_empty(self) -> bool:
        """Whether there is no content at all. It may be called before `open`."""
